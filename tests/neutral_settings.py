"""Settings with which training does nothing beyond its steps; each test changes what it is about."""

from graft.settings import params

FINE_TUNE = {
    "from_layer": 0.6,
    "to_layer": None,
    "epochs": 3,
    "batch_size": 8,
    "optimizer": "adamw",
    "momentum": 0.9,
    "weight_decay": 0.0,
    "layer_decay": 1.0,
    "schedule": "constant",
    "warmup": 0.0,
    "plateau_patience": 3,
    "patience": None,
    "monitor": None,
    "label_smoothing": 0.0,
    "dropout": 0.0,
    "mixup": 0.0,
    "ema": 0.0,
    "interpolation": 1.0,
    "precision": "float32",
    "deterministic": False,
    "maps": "stored",
    "resume": False,
    "tensorboard": False,
}


def fine_tune_settings(**changes: object) -> params.FineTune:
    """Return `fine_tune` of a params.yaml, neutral but for the changes; the repository's params.yaml is not read."""
    return params.FineTune.model_validate(FINE_TUNE | changes)
