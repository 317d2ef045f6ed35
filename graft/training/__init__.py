"""Fine-tuning the top of the network on stored activations, and what makes a step fast."""
