"""Charts as SVG text. Colours come from the page's style, by class name, so that they suit a light and a dark page."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

WIDTH, HEIGHT = 440, 280
LEFT, RIGHT, TOP, BOTTOM = 62, 24, 14, 44
TICKS = 5
# The shade of a cell with a single image among thousands: it can still be seen.
FAINTEST = 0.2


class Line(NamedTuple):
    """A curve: its name, its points (x, y), and the class of its style."""

    name: str
    points: Sequence[tuple[float, float]]
    style: str


class Frame(NamedTuple):
    """The plane of a chart: the least and the largest value of each axis."""

    x: tuple[float, float]
    y: tuple[float, float]

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point is in the picture."""
        across = (x - self.x[0]) / ((self.x[1] - self.x[0]) or 1)
        up = (y - self.y[0]) / ((self.y[1] - self.y[0]) or 1)
        return (
            round(LEFT + across * (WIDTH - LEFT - RIGHT), 1),
            round(HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM), 1),
        )


def ticks(low: float, high: float, most: int = TICKS) -> list[float]:
    """Return at most `most` + 1 round numbers from `low` to `high`: multiples of 1, 2 or 5 times a power of 10."""
    if not high > low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def around(values: Iterable[float], least: float | None = None, most: float | None = None) -> tuple[float, float]:
    """Return the bounds of an axis for these values, with a little room, within `least` and `most`."""
    known = list(values)
    low, high = min(known), max(known)
    room = 0.06 * ((high - low) or abs(high) or 1)
    low, high = low - room, high + room
    return (low if least is None else max(low, least), high if most is None else min(high, most))


def _text(x: float, y: float, text: object, anchor: str = "middle", more: str = "") -> Markup:
    return Markup('<text x="{}" y="{}" text-anchor="{}"{}>{}</text>').format(x, y, anchor, Markup(more), text)


def axes(frame: Frame, x_label: str, y_label: str, whole: bool = False, percent: str = "") -> Markup:
    """Return the grid, the numbers and the names of both axes.

    Parameters
    ----------
    frame : the plane.
    x_label, y_label : the names.
    whole : whether x has whole numbers alone.
    percent : the axes whose numbers are shown as per cent: "x", "y" or "xy".
    """
    parts = []
    for tick in ticks(*frame.y):
        _, y = frame.place(frame.x[0], tick)
        parts += [
            Markup('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(LEFT, WIDTH - RIGHT, y, y),
            _text(LEFT - 6, y + 4, _number(tick, "y" in percent), "end"),
        ]
    for tick in ticks(*frame.x):
        if whole and tick % 1:
            continue
        x, _ = frame.place(tick, frame.y[0])
        parts.append(_text(x, HEIGHT - BOTTOM + 20, _number(tick, "x" in percent)))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, x_label))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(_text(12, middle, y_label, more=f' transform="rotate(-90 12 {middle})"'))
    return Markup("").join(parts)


def _number(value: float, percent: bool) -> str:
    return f"{100 * value:.10g} %" if percent else f"{value:.10g}"


def picture(title: str, *parts: Markup) -> Markup:
    """Return the whole picture; `title` is what a screen reader says."""
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, HEIGHT, title, Markup("").join(parts)
    )


def curve(frame: Frame, line: Line) -> Markup:
    """Return a curve through its points, which show their values under the mouse."""
    places = [frame.place(*point) for point in line.points]
    path = " ".join(f"{x},{y}" for x, y in places)
    dots = (
        Markup('<circle class="dot {}" cx="{}" cy="{}" r="3"><title>{}: {:.4g} at {:.4g}</title></circle>').format(
            line.style, x, y, line.name, value, at
        )
        for (x, y), (at, value) in zip(places, line.points, strict=True)
    )
    joined = Markup("").join(dots) if len(places) <= 60 else Markup("")
    return Markup('<polyline class="curve {}" points="{}"/>{}').format(line.style, path, joined)


def level(frame: Frame, value: float, style: str) -> Markup:
    """Return a line across the whole chart at this value of y."""
    (left, y), (right, _) = frame.place(frame.x[0], value), frame.place(frame.x[1], value)
    return Markup('<line class="curve {}" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(style, left, right, y, y)


def lines(title: str, curves: Sequence[Line], x_label: str, y_label: str, head: float | None = None) -> Markup:
    """Return curves over whole numbers, such as epochs, and the value of the head alone as a line."""
    values = [y for line in curves for _, y in line.points] + ([] if head is None else [head])
    numbers = [x for line in curves for x, _ in line.points]
    frame = Frame((min(numbers), max(numbers)), around(values, least=0))
    reference = Markup("") if head is None else level(frame, head, "wrong dashed")
    drawn = Markup("").join(curve(frame, line) for line in curves)
    return picture(title, axes(frame, x_label, y_label, whole=True), reference, drawn)


def reliability(title: str, bins: Sequence[dict[str, float]], least: float) -> Markup:
    """Return accuracy by confidence: a dot with its interval for each bin, beside the diagonal.

    Parameters
    ----------
    title : what a screen reader says.
    bins : confidence, accuracy, low, high, images of each bin that has an image.
    least : the confidence at which the chart starts.
    """
    frame = Frame((least, 1), (0, 1))
    (x1, y1), (x2, y2) = frame.place(least, least), frame.place(1, 1)
    diagonal = Markup('<line class="curve faint dashed" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(x1, y1, x2, y2)
    most = max(one["images"] for one in bins)
    dots = []
    for one in bins:
        x, y = frame.place(one["confidence"], one["accuracy"])
        _, low = frame.place(0, one["low"])
        _, high = frame.place(0, one["high"])
        dots.append(
            Markup(
                '<line class="curve right" x1="{x}" x2="{x}" y1="{low}" y2="{high}"/>'
                '<circle class="dot right" cx="{x}" cy="{y}" r="{r}"><title>{text}</title></circle>'
            ).format(
                x=x, y=y, low=low, high=high, r=round(3 + 6 * math.sqrt(one["images"] / most), 1), text=_of_bin(one)
            )
        )
    labels = axes(frame, "confidence: probability of the prediction", "right", percent="xy")
    return picture(title, labels, diagonal, Markup("").join(dots))


def _of_bin(one: dict[str, float]) -> str:
    return f"{one['images']:.0f} images: confidence {one['confidence']:.1%}, right {one['accuracy']:.1%}"


def coverage(title: str, points: Sequence[tuple[float, float]]) -> Markup:
    """Return the share that is right among the surest images, by their share of all images."""
    frame = Frame((0, 1), around([y for _, y in points], least=0, most=1))
    line = Line("right", points, "right")
    return picture(
        title, axes(frame, "share of the images that is answered", "right", percent="xy"), curve(frame, line)
    )


def shades(matrix: np.ndarray) -> np.ndarray:
    """Return how dark each cell of a confusion matrix is, from 0 (without images) to 1 (with all of its row).

    A quarter of the row is half as dark as all of it: few mistakes of many images are what one looks for.
    """
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    return np.where(matrix, FAINTEST + (1 - FAINTEST) * np.sqrt(shares), 0)


def interval(low: float | None, value: float | None, high: float | None) -> Markup:
    """Return a small bar from 0 to 1 with an interval and its value, for a cell of a table."""
    if low is None or value is None or high is None:
        return Markup("")
    return Markup(
        '<svg class="interval" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="track" x="0" y="4" width="100" height="2"/>'
        '<rect class="span" x="{:.1f}" y="2.5" width="{:.1f}" height="5"/>'
        '<rect class="mark" x="{:.1f}" y="0" width="1" height="10"/></svg>'
    ).format(100 * low, max(100 * (high - low), 0.5), min(100 * value, 99))


def scatter(
    title: str,
    points: Sequence[tuple[float, float]],
    numbers: Sequence[int],
    classes: Sequence[int],
    wrong: Sequence[bool],
) -> Markup:
    """Return a map of points, each with its number and the colour of its class; wrong ones have a ring.

    Parameters
    ----------
    title : what a screen reader says.
    points : of each image.
    numbers : of the record of each.
    classes : the class of each.
    wrong : whether its prediction is wrong.
    """
    frame = Frame(around(x for x, _ in points), around(y for _, y in points))
    scale_x, scale_y = 640 / (frame.x[1] - frame.x[0]), 460 / (frame.y[1] - frame.y[0])
    dots = (
        Markup('<circle data-n="{}" data-c="{}" cx="{:.1f}" cy="{:.1f}" r="{}" class="{}"/>').format(
            number,
            label,
            (x - frame.x[0]) * scale_x,
            460 - (y - frame.y[0]) * scale_y,
            6 if is_wrong else 4.5,
            "wrong" if is_wrong else "",
        )
        for (x, y), number, label, is_wrong in zip(points, numbers, classes, wrong, strict=True)
    )
    return Markup('<svg id="map" viewBox="0 0 640 460" role="img" aria-label="{}">{}</svg>').format(
        title, Markup("").join(dots)
    )
