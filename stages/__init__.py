"""The pipeline: one script per DVC stage, in the order that dvc.yaml gives them."""
