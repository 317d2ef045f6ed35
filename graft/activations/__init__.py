"""What the frozen network computes of each image, once: the inference loop and the store of its results."""
