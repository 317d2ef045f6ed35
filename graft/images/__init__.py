"""The images: the table of all images, the loader that makes pixels of a file, and augmented views."""
