"""The judgement in words: what a person reads first."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from graft.report.results import Results

# Any classifier agrees with an interval of the accuracy so wide: that of 35 images or fewer, at 90 % right.
WIDE = 0.2


def percent(share: float) -> str:
    """Return a share as per cent with one digit after the point."""
    return f"{100 * share:.1f} %"


def better(difference: float) -> str:
    """Return a difference of two shares in points of per cent, such as "3.4 points better"."""
    return f"{100 * abs(difference):.1f} points {'better' if difference >= 0 else 'worse'}"


def right_of(accuracy: Mapping[str, Any]) -> str:
    """Return how often the classifier is right, such as "347 of 349 test images are right"."""
    right, images = round(accuracy["accuracy"] * accuracy["images"]), accuracy["images"]
    return f"{right:,} of {images:,} test image{'s are' if images != 1 else ' is'} right"


def span(accuracy: Mapping[str, Any]) -> str:
    """Return the accuracy with its interval."""
    low, high = accuracy["accuracy_low"], accuracy["accuracy_high"]
    return f"{percent(accuracy['accuracy'])} (95 % interval {percent(low)} to {percent(high)})"


def references(
    results: Results, head: Mapping[str, Any] | None, exported: Mapping[str, Any] | None
) -> list[tuple[str, float]]:
    """Return what the accuracy is compared with: a name and a share that is right, for each."""
    name, share = _commonest(results)
    found = [(f"always “{name}”", share)]
    if head and not (exported and exported.get("exported") == "head"):
        found.append(("head alone", head["head"]["accuracy"]))
    return found


def _commonest(results: Results) -> tuple[str, float]:
    counts = results.matrix.sum(axis=1)
    return results.names[counts.argmax()], float(counts.max() / counts.sum())


def majority(results: Results) -> str:
    """Return a sentence that compares with the answer that is always the same class."""
    name, share = _commonest(results)
    accuracy = results.accuracy["accuracy"]
    return (
        f"The answer “{name}” for every image would be right for {percent(share)}. "
        f"The classifier is {better(accuracy - share)}."
    )


def head_alone(results: Results, head: Mapping[str, Any] | None, exported: Mapping[str, Any] | None) -> str | None:
    """Return a sentence that compares with the head on the frozen backbone, or None without its figures."""
    if not head:
        return None
    before, after = head["head"]["accuracy"], results.accuracy["accuracy"]
    alone = f"The head alone, on the frozen backbone, is right for {percent(before)}."
    if exported and exported.get("exported") == "head":
        # The file may take more crops, or a larger image, than the features of the head's own figure.
        as_exported = (
            "" if after == before else f" The exported file, with its own crops and size, is {better(after - before)}."
        )
        return f"{alone} It was exported, so this page is about it.{as_exported}"
    if after == before:
        return f"{alone} The fine-tuned network is right as often."
    return f"{alone} The fine-tuned network is {better(after - before)}."


def calibration(results: Results) -> str:
    """Return a sentence on whether the probabilities can be taken at their word."""
    accuracy = results.accuracy
    confidence = float(results.confidence.mean())
    error = f"expected calibration error {accuracy['expected_calibration_error']:.3f}"
    mean = f"Its mean confidence is {percent(confidence)}, and it is right for {percent(accuracy['accuracy'])}"
    if accuracy["accuracy_low"] <= confidence <= accuracy["accuracy_high"]:
        if accuracy["accuracy_high"] - accuracy["accuracy_low"] > WIDE:
            return f"Too few images to tell whether it is calibrated. {mean} ({error})."
        return f"Calibrated. {mean}: the two agree within the interval ({error})."
    kind = "Too sure" if confidence > accuracy["accuracy"] else "Not sure enough"
    return f"{kind}. {mean} ({error})."


def export(
    exported: Mapping[str, Any] | None,
    head: Mapping[str, Any] | None,
    tuned: Mapping[str, Any] | None,
    choice: str | None,
) -> str | None:
    """Return a sentence on what was exported and why.

    Parameters
    ----------
    exported, head, tuned : metrics/export.json, head.json and fine_tune.json.
    choice : `export.model` of the parameters; None where it is not known.
    """
    if not exported:
        return None
    model = {"head": "the head on the frozen backbone", "fine_tuned": "the fine-tuned network"}[exported["exported"]]
    size, loss = exported["image_size"], exported["exported_validation"]["loss"]
    text = f"Exported: {model}, for images of {size} pixels."
    if choice not in (None, "best_on_validation"):
        return (
            f"{text} params.yaml asks for it (export.model: {choice}). Its loss on the validation images is {loss:.3f}."
        )
    text = f"{text} It had the lowest loss on the validation images: {loss:.3f}"
    others = {
        "head": (tuned, "fine_tuned_validation", "fine-tuned"),
        "fine_tuned": (head, "head_validation", "the head"),
    }
    figures, key, name = others[exported["exported"]]
    return f"{text}; {name} {figures[key]['loss']:.3f}." if figures and key in figures else f"{text}."


def weakest(results: Results) -> str:
    """Return a sentence on the class with the lowest recall and its commonest confusion."""
    counts, right = results.matrix.sum(axis=1), results.matrix.diagonal()
    recall = np.where(counts, right / np.maximum(counts, 1), np.inf)
    label = int(recall.argmin())
    if recall[label] == 1:
        return "No class stands out: every test image is right."
    name = results.names[label]
    wrong = results.matrix[label].copy()
    wrong[label] = 0
    other = int(wrong.argmax())
    return (
        f"Weakest class: “{name}”. {right[label]} of its {counts[label]} images are right ({percent(recall[label])}). "
        f"Most often it is taken for “{results.names[other]}” ({wrong[other]} of {counts[label]})."
    )
