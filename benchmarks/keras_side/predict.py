"""The class of one image by Keras alone: `python -m benchmarks.keras_side.predict MODEL.keras IMAGE`."""

import sys

import keras
import numpy as np

model = keras.models.load_model(sys.argv[1], compile=False)
image = keras.utils.load_img(sys.argv[2], target_size=model.input_shape[1:3], interpolation="bilinear")
probabilities = model(np.asarray(image, np.float32)[np.newaxis], training=False).numpy()[0]
print(", ".join(f"{index} {probabilities[index]:.1%}" for index in np.argsort(-probabilities)[:5]))
