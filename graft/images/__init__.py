"""Which images there are, and how a file becomes pixels: the table, the loader, the augmented views."""
