"""The initial weights that `head.initializer` in params.yaml can name: those of Keras."""

import numpy as np

# The class in keras.initializers, by its name in params.yaml.
INITIALIZERS = {
    "glorot_normal": "GlorotNormal",
    "glorot_uniform": "GlorotUniform",
    "he_normal": "HeNormal",
    "he_uniform": "HeUniform",
    "lecun_normal": "LecunNormal",
    "random_normal": "RandomNormal",
    "truncated_normal": "TruncatedNormal",
}


def initial_kernel(initializer: str, inputs: int, outputs: int, seed: int) -> np.ndarray:
    """Return a random kernel, float32 (inputs, outputs).

    Parameters
    ----------
    initializer : a key of `INITIALIZERS`.
    inputs, outputs : of the dense layer.
    seed : from 0.
    """
    import keras

    return np.asarray(getattr(keras.initializers, INITIALIZERS[initializer])(seed=seed)((inputs, outputs)))
