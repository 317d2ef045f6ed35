"""The settings in params.yaml: every key with its type and range, and a table for each choice between names."""
