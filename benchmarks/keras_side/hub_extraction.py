"""Features by KerasHub alone: `python -m benchmarks.keras_side.hub_extraction PRESET FOLDER FEATURES.npy`.

With `--write PRESET` it writes the preset: DINOv2-S, with random weights. As a good user of KerasHub writes it: images
decoded by tf.data in threads, ahead of the network; one pass of predict; the class token.
"""

import sys
from pathlib import Path

import keras
import keras_hub
import numpy as np
import tensorflow as tf

SIZE = 224
BATCH_SIZE = 32
# DINOv2-S/14: Oquab et al. 2023, arXiv 2304.07193, table 17.
SMALL = {"patch_size": 14, "num_layers": 12, "hidden_dim": 384, "num_heads": 6, "intermediate_dim": 1536}
MEANS, DEVIATIONS = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def write_preset(folder: Path) -> None:
    """Write DINOv2-S with random weights and its scaling, as KerasHub's presets have them."""
    network = keras_hub.models.DINOV2Backbone(
        **SMALL, image_shape=(SIZE, SIZE, 3), position_embedding_shape=(518, 518, 3)
    )
    network.save_to_preset(str(folder))
    scale, offset = (1 / 255 / DEVIATIONS).tolist(), (-MEANS / DEVIATIONS).tolist()
    keras_hub.layers.ImageConverter((SIZE, SIZE), scale, offset).save_to_preset(str(folder))


def main(preset: Path, folder: Path, features: Path) -> None:
    """Write the class tokens of all images below `folder`, in the order of their names."""
    network = keras_hub.models.Backbone.from_preset(str(preset))
    scale, offset = (1 / 255 / DEVIATIONS).astype(np.float32), (-MEANS / DEVIATIONS).astype(np.float32)
    dataset = keras.utils.image_dataset_from_directory(
        folder, labels=None, image_size=(SIZE, SIZE), batch_size=BATCH_SIZE, shuffle=False, verbose=False
    )
    dataset = dataset.map(lambda images: {"images": images * scale + offset}, tf.data.AUTOTUNE)
    np.save(features, network.predict(dataset.prefetch(tf.data.AUTOTUNE), verbose=0)[:, 0])


if __name__ == "__main__":
    if sys.argv[1] == "--write":
        write_preset(Path(sys.argv[2]))
    else:
        main(*map(Path, sys.argv[1:4]))
