"""Environment variables that TensorFlow reads when it is first imported; the user's own values are kept."""

import os

# No information and no warnings: those of the converter do not help a user.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Convolutions by oneDNN are twice as fast. The default depends on the processor, but the results must not.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
