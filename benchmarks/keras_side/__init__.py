"""What the benchmarks compare Graft with: scripts of Keras alone, as a good user of Keras writes them."""
