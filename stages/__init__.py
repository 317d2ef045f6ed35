"""The pipeline: one script for each stage of dvc.yaml, in its order."""

import sys

from graft.core.errors import end_at_interrupts

# `python -m stages.NAME` is about to import the script, and with it large libraries.
if sys.argv[:1] == ["-m"]:
    end_at_interrupts()
