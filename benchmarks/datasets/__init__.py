"""Images to measure with, and scripts that make the data sets of docs/accuracy.md."""
