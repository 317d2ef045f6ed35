"""Features by Keras alone: `python -m benchmarks.keras_side.extraction FOLDER FEATURES.npy [WEIGHTS]`.

As a good user of Keras writes it: images decoded by tf.data in threads, ahead of the network; one pass of predict.
"""

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

SIZE = 224
BATCH_SIZE = 32


def network(weights: str | None) -> keras.Model:
    """Return MobileNetV2 from pixels, 0 to 255, to pooled features."""
    base = keras.applications.MobileNetV2(input_shape=(SIZE, SIZE, 3), include_top=False, weights=weights)
    inputs = keras.Input((SIZE, SIZE, 3))
    features = base(keras.applications.mobilenet_v2.preprocess_input(inputs), training=False)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(features))


def main(folder: Path, features: Path, weights: str | None) -> None:
    """Write the features of all images below `folder`, in the order of their names."""
    dataset = keras.utils.image_dataset_from_directory(
        folder, labels=None, image_size=(SIZE, SIZE), batch_size=BATCH_SIZE, shuffle=False, verbose=False
    ).prefetch(tf.data.AUTOTUNE)
    np.save(features, network(weights).predict(dataset, verbose=0))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None)
