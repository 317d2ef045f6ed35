"""The exported network of the current folder: what it gives for an image, and what Keras gives for the same one."""

import numpy as np
from compiled_networks import run_compiled

from graft.core import paths
from graft.core.files import read_json
from graft.images import loader
from graft.images.table import read_image_table
from graft.scores.loss import softmax
from graft.settings import params


def probabilities() -> tuple[np.ndarray, np.ndarray]:
    """Return the probabilities of the first image: by the exported file, and by Keras from the weights on disk."""
    size = read_json(paths.LABELS)["image_size"]
    image = np.asarray(loader.load(read_image_table().files()[0], size, "crop"))
    return run_compiled(paths.CLASSIFIER.read_bytes(), image[np.newaxis])[0][0], _by_keras(image)


def _by_keras(image: np.ndarray) -> np.ndarray:
    from graft.backbone.compile import scaled
    from graft.heads.head import read_head
    from graft.serving.export import candidates

    head, _ = read_head(paths.HEAD)
    best = next(candidates(params.load(), head, read_image_table()))
    images = image[np.newaxis].astype(np.float32)
    maps = best.backbone.cut.trunk(scaled(images, best.backbone.scaling), training=False)
    return softmax(np.asarray(best.upper(maps, training=False), np.float64))[0]
