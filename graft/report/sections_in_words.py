"""metrics/data.json and metrics/unknown.json in words: a title and a text for each subject."""

from collections.abc import Mapping
from typing import Any

from graft.report.words import percent

# A title and a text.
Paragraph = tuple[str, str]


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun, such as "1 image" or "1,797 images"."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def data_doctor(found: Mapping[str, Any]) -> list[Paragraph]:
    """Return what `inspect` has found, from the content of metrics/data.json."""
    return [
        ("Labels", _labels(found)),
        ("Copies", _copies(found["findings"])),
        ("Odd images", _odd_images(found["findings"])),
        ("Classes", _classes(found)),
        ("Files", _files(found)),
    ]


def _labels(found: Mapping[str, Any]) -> str:
    if not found["suspects"]:
        return f"None of {found['judged']:,} labels looks wrong."
    look = "looks" if found["suspects"] == 1 else "look"
    return (
        f"{found['suspects']:,} of {found['judged']:,} labels ({percent(found['suspect_share'])}) {look} wrong, "
        f"{found['suspects_in_test']:,} of them in the test part."
    )


def _copies(findings: Mapping[str, int]) -> str:
    exact, near = findings["exact_copy"], findings["near_copy"]
    if not exact + near:
        return "No image is a copy of another."
    copies = f"{count(exact, 'exact copy', 'exact copies')} and {count(near, 'near copy', 'near copies')}"
    label, part = findings["copy_with_other_label"], findings["copy_in_other_part"]
    return f"{copies}; {label or 'none'} under another label, {part or 'none'} in another part than its picture."


# In the order of data/findings.csv.
ODD = {
    "dark": "dark",
    "bright": "bright",
    "blurred": "blurred",
    "low_information": "with little detail",
    "odd_size": "of an odd size",
    "odd_shape": "of an odd shape",
    "outlier": "unlike all others (outliers)",
}


def _odd_images(findings: Mapping[str, int]) -> str:
    odd = [f"{findings[kind]:,} {words}" for kind, words in ODD.items() if findings.get(kind)]
    return f"{', '.join(odd)}." if odd else "None is dark, bright, blurred, odd in size or shape, or unlike all others."


def _classes(found: Mapping[str, Any]) -> str:
    small, large = found["smallest_class"], found["largest_class"]
    if small == large:
        return f"{count(found['classes'], 'class', 'classes')}, each with {count(small, 'image')}."
    classes = count(found["classes"], "class", "classes")
    return f"{classes}; the smallest has {count(small, 'image')}, the largest {large:,}."


def _files(found: Mapping[str, Any]) -> str:
    formats = sorted(found["formats"].items(), key=lambda item: -item[1])
    several = ", ".join(f"{number:,} {name}" for name, number in formats)
    kinds = f"All are {formats[0][0]}" if len(formats) == 1 else several
    refused = found["findings"]["refused"]
    unread = f" {count(refused, 'file')} could not be read." if refused else ""
    return f"{kinds}; {_range(found['width'])} pixels wide, {_range(found['height'])} high.{unread}"


def _range(of: Mapping[str, float]) -> str:
    if of["least"] == of["most"]:
        return f"{of['least']:,}"
    return f"{of['least']:,} to {of['most']:,} (median {of['median']:,.0f})"


def _prediction_sets(found: Mapping[str, float]) -> str:
    return (
        f"graft predict names a set of classes that should hold the right one for {100 * found['wanted_coverage']:g} % "
        f"of the images. It does for {_span(found, 'coverage')} of the test images, and for "
        f"{percent(found['lowest_class_coverage'])} of those of the worst class. A set has {found['mean_size']:.2f} "
        f"classes on average; {percent(found['single'])} of the sets have one."
    )


def _none_of_these(found: Mapping[str, float]) -> str:
    right = f", and {percent(found['accuracy'])} of these are right" if "accuracy" in found else ""
    return (
        "The exported file can answer “none of these”. It accepts "
        f"{_span(found, 'accepted')} of the test images{right}. It refuses "
        f"{percent(found['generated_refused'])} of {found['generated_images']} generated pictures, such as noise."
    )


def _class_left_out(found: Mapping[str, float]) -> str:
    return (
        f"Each of {count(int(found['classes']), 'class', 'classes')} was left out in turn, from a head on the frozen "
        f"network. On average {percent(found['refused'])} of the images of that class were refused, and "
        f"{percent(found['accepted'])} of the others accepted. AUROC {found['auroc']:.3f} (0.5 is chance), "
        f"{found['lowest_auroc']:.3f} for the worst class; by the largest probability alone "
        f"{found['auroc_largest_probability']:.3f}."
    )


def _span(found: Mapping[str, float], key: str) -> str:
    return f"{percent(found[key])} ({percent(found[f'{key}_low'])} to {percent(found[f'{key}_high'])})"


PARTS = {
    "prediction_sets": ("Prediction sets", _prediction_sets),
    "none_of_these": ("None of these", _none_of_these),
    "class_left_out": ("Images of an unknown class", _class_left_out),
}


def limits(found: Mapping[str, Any]) -> list[Paragraph]:
    """Return what the classifier knows of its own limits, from the content of metrics/unknown.json.

    A part that the file does not have is left out.

    Raises
    ------
    KeyError
        If the file has a part that is not known.
    """
    return [(PARTS[name][0], PARTS[name][1](figures)) for name, figures in found.items()]
