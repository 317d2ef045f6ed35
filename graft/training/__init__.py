"""Fine-tuning the top of the network on the maps of the frozen trunk, and what makes a step fast."""
