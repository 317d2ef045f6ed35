"""What params.yaml can say: every key with its range, and a table for each name it can choose."""
