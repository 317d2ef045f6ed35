"""The exported classifier: which model is exported, and how it is loaded and run."""
