"""Stage train_head: a classifier on the frozen backbone's features."""

from pathlib import Path

import numpy as np

from stages.parts import heads, params, scores
from stages.parts.errors import run
from stages.parts.files import read_rows, replacing, write_json

SPLIT = Path("data/split.csv")
FEATURES = Path("data/features/features.npy")
HEAD = Path("models/head.npz")
METRICS = Path("metrics/head.json")


def trained(
    features: np.ndarray, labels: np.ndarray, classes: int, settings: params.Head, seed: int
) -> heads.LinearHead:
    """Return the head that `head` in params.yaml describes, trained on float32 features (images, features)."""
    strength = heads.choose_strength(features, labels, classes, seed) if settings.C == "auto" else settings.C
    print(f"logistic regression, C {strength:g}")
    return heads.fit_linear(features, labels, classes, strength)


def main() -> None:
    parameters = params.load()
    rows = read_rows(SPLIT)
    names = sorted({row["label"] for row in rows})
    labels = np.array([names.index(row["label"]) for row in rows])
    parts = np.array([row["split"] for row in rows])
    features = np.load(FEATURES, mmap_mode="r")
    train = parts == "train"
    validation, test = parts == "validation", parts == "test"
    head = trained(features[train], labels[train], len(names), parameters.head, parameters.seed)
    head = head.at_temperature(heads.fit_temperature(head.logits(features[validation]), labels[validation]))
    with replacing(HEAD) as path:
        np.savez(path, kernel=head.kernel, bias=head.bias)
    figures = scores.summary(heads.probabilities(head.logits(features[test])), labels[test])
    choice = scores.choice(heads.probabilities(head.logits(features[validation])), labels[validation])
    write_json(METRICS, {"head": figures, "head_validation": choice})
    print(f"head alone: {figures['accuracy']:.4f} of {figures['images']} test images")


if __name__ == "__main__":
    run(main)
