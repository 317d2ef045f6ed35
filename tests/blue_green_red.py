"""What models/ holds in the tests of `graft predict`: a classifier of blue, green and red pictures of 16 x 16."""

import shutil
from pathlib import Path

from graft.core.files import write_json

LABELS = ["blue", "green", "red"]
DESCRIPTION = {"labels": LABELS, "image_size": 16, "resize": "squash", "crops": 1}


def write(classifier: Path) -> None:
    """Write a compiled classifier and its description to models/ in the current folder."""
    Path("models").mkdir()
    shutil.copy(classifier, "models/classifier.tflite")
    write_json("models/labels.json", DESCRIPTION)
