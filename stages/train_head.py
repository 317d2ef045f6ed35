"""Stage train_head: a classifier on the frozen backbone's features."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.parts import heads, linear_heads, params, scores, tensorboard, views
from stages.parts.errors import GraftError, run
from stages.parts.files import read_rows, replacing, write_json
from stages.parts.native_output import importing

SPLIT = Path("data/split.csv")
FEATURES = Path("data/features/features.npy")
VIEWS = Path("data/features/views.npy")
HEAD = Path("models/head.npz")
METRICS = Path("metrics/head.json")


@dataclass(frozen=True)
class Data:
    """Features on disk, and what is known of their images.

    Attributes
    ----------
    features : float32 array (images, ...).
    labels : int array (images,), from 0.
    parts : array (images,) of train, validation and test.
    sha256 : array (images,), of the image files.
    classes : how many there are, from 2.
    views : float32 array (training images, views, ...), or None.
    """

    features: np.ndarray
    labels: np.ndarray
    parts: np.ndarray
    sha256: np.ndarray
    classes: int
    views: np.ndarray | None

    def of(self, part: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the features of the images of a part, in memory, and their labels."""
        return self.features[self.parts == part], self.labels[self.parts == part]


def read_data(number_of_views: int) -> Data:
    """Return what `split` and `extract` wrote."""
    rows = read_rows(SPLIT)
    columns = {name: np.array([row[name] for row in rows]) for name in ("label", "split", "sha256")}
    names, labels = np.unique(columns["label"], return_inverse=True)
    features = np.load(FEATURES, mmap_mode="r")
    drawn = None
    if number_of_views:
        # (training images * views, ...) -> (training images, views, ...)
        drawn = np.load(VIEWS, mmap_mode="r").reshape(-1, number_of_views, *features.shape[1:])
    return Data(features, labels, columns["split"], columns["sha256"], len(names), drawn)


def trained_linear(data: Data, settings: params.Head, seed: int) -> heads.Head:
    """Return the head that scikit-learn fits to a map's values or to pooled features."""
    features, labels = data.of("train")
    views = None if data.views is None else data.views.reshape(*data.views.shape[:2], -1)
    examples = linear_heads.Examples(features.reshape(len(features), -1), labels, data.classes, views)
    strength = linear_heads.choose_strength(examples, seed) if settings.C == "auto" else float(settings.C)
    mixture = linear_heads.Mixture(strength)
    if obstacle := linear_heads.no_discriminant(examples):
        if settings.discriminant not in (0, "auto"):
            raise GraftError(f"head.discriminant: {settings.discriminant:g}, but {obstacle}; 0 does without")
    elif settings.discriminant != 0:
        shares = linear_heads.SHARES if settings.discriminant == "auto" else [settings.discriminant]
        mixture = linear_heads.choose_mixture(examples, strength, shares, seed)
    beside = f", and {mixture.share:.0%} linear discriminant analysis" if mixture.share else ""
    print(f"logistic regression, C {strength:g}{beside}")
    return linear_heads.fit(examples, mixture)


def trained_layers(data: Data, settings: params.Head, seed: int) -> heads.Head:
    """Return the head that Keras trains."""
    with importing():
        from stages.parts import dense_heads

    rows, labels = {}, {}
    for part in ("train", "validation"):
        rows[part] = np.flatnonzero(data.parts == part)
        labels[part] = data.labels[rows[part]]

    def read(images: np.ndarray, epoch: int) -> np.ndarray:
        features = data.features[rows["train"][images]]
        for place, image in enumerate(images):
            view = views.view_in_epoch(data.sha256[rows["train"][image]], epoch, settings.views)
            if view:
                features[place] = data.views[image, view - 1]
        return features

    shape = data.features.shape[1:]
    start = dense_heads.drawn(shape, data.classes, settings, seed)
    train = dense_heads.Batches(read, labels["train"], settings.batch_size, seed)
    validation = dense_heads.Batches(
        lambda images, _: data.features[rows["validation"][images]], labels["validation"], settings.batch_size, None
    )
    log_folder = tensorboard.log_folder("train_head") if settings.tensorboard else None
    head, epoch = dense_heads.fit(start, shape, train, validation, settings, seed, log_folder)
    print(f"{settings.kind} head, its weights those of epoch {epoch}")
    return head


TRAINERS = {"linear": trained_linear, "mlp": trained_layers, "se": trained_layers}


def main() -> None:
    parameters = params.load()
    data = read_data(parameters.head.views)
    head = TRAINERS[parameters.head.kind](data, parameters.head, parameters.seed)
    features, labels = data.of("validation")
    head = head.at_temperature(heads.fit_temperature(head.logits(features), labels))
    choice = scores.choice(heads.probabilities(head.logits(features)), labels)
    features, labels = data.of("test")
    figures = scores.summary(heads.probabilities(head.logits(features)), labels)
    with replacing(HEAD) as path:
        head.save(path)
    write_json(METRICS, {"head": figures, "head_validation": choice})
    print(f"head alone: {figures['accuracy']:.4f} of {figures['images']} test images")


if __name__ == "__main__":
    run(main)
