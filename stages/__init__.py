"""The pipeline: one script for each stage of dvc.yaml, in its order."""
