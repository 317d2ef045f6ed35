"""`graft predict --figure`: the first images with what the model finds on them."""

from pathlib import Path

from graft.commands.predict_output import ImageClassifier, caption
from graft.core.errors import GraftError
from graft.core.files import require_no_folder
from graft.serving.classifier import Prediction

MAX_IMAGES = 48


class PredictionFigure:
    """Collects images, and draws the first `MAX_IMAGES` of them.

    Parameters
    ----------
    path : of the PNG file.
    classifier : gives the names of the classes.

    Raises
    ------
    GraftError
        If the path does not end in .png, or its folder does not exist.
    """

    def __init__(self, path: Path, classifier: ImageClassifier) -> None:
        if path.suffix.lower() != ".png":
            raise GraftError(f"--figure {path}: the name of the figure must end in .png")
        require_no_folder(path, "--figure")
        if not path.parent.is_dir():
            raise GraftError(f"--figure {path}: no folder {path.parent}; make it first")
        self._path = path
        self._classifier = classifier
        self._images: list[tuple[Path, Prediction]] = []
        self._seen = 0

    def add(self, image: Path, prediction: Prediction) -> None:
        """Take an image, if there is room for it."""
        self._seen += 1
        if len(self._images) < MAX_IMAGES:
            self._images.append((image, prediction))

    def summary(self) -> str:
        """Write the figure, and return one line that says what it shows."""
        if not self._images:
            return f"{self._path}: not written, as no image can be read"
        # Importing matplotlib takes longer than classifying an image.
        from graft.report import figures
        from graft.report.fonts import class_names

        with class_names(self._classifier.names, self._classifier.labels) as names:
            captions = [caption(prediction, self._classifier.labels, names) for _, prediction in self._images]
            figures.captioned(self._path, "Predictions", [image for image, _ in self._images], captions)
        shown = (
            f"the first {len(self._images)} of {self._seen:,}" if self._seen > len(self._images) else f"{self._seen}"
        )
        return f"{self._path}: shows {shown} images"
