"""The exported classifier: how it is chosen and written, and how it is loaded again."""
