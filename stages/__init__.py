"""The pipeline: one script per DVC stage, in the order that dvc.yaml gives them."""

import os

# TensorFlow reads it when it is first imported: warnings of its converter say nothing to a user.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Its convolutions by oneDNN, twice as fast; the default depends on the processor, and results should not.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
