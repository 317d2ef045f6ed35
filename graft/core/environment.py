"""What TensorFlow reads from the environment when it is first imported."""

import os

# Warnings of its converter say nothing to a user.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Its convolutions by oneDNN, twice as fast; the default depends on the processor, and results should not.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
