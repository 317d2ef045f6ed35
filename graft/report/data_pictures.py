"""What the page says about the data: suspect labels, findings, images of each class and part, augmented views."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from graft.activations.requests import Pixels
from graft.core import paths
from graft.images import loader
from graft.images.decoder import UnreadableImageError
from graft.images.table import PARTS, ImageTable
from graft.report.feature_map import nearest_of_class
from graft.report.results import Results
from graft.report.thumbnails import Thumbnails

SUSPECT_COLUMNS = ("path", "label", "likelier", "p_label", "p_likelier")
FINDING_COLUMNS = ("finding", "path", "other", "value")
MOST_SUSPECTS = 24
MOST_OF_FINDING = 12
VIEWED_IMAGES, VIEWS = 4, 5
MOST_HEAT_MAPS = 12
# The colour of the heat, RGB.
HEAT = np.array([255, 120, 0], np.float32)

# What makes heat maps: a crop, uint8 (size, size, 3), and numbers of classes; float32 (classes, size, size), 0 to 1.
HeatMaps = Callable[[np.ndarray, list[int]], np.ndarray]


def suspects(
    found: pd.DataFrame, table: ImageTable | None, results: Results, thumbnails: Thumbnails
) -> list[dict[str, Any]]:
    """Return the first rows of metrics/suspects.csv, each with an image of the likelier class that is most like it."""
    shown = []
    place = {} if table is None else {path: row for row, path in enumerate(table.paths)}
    for row in found.head(MOST_SUSPECTS).to_dict("records"):
        beside = None
        if table is not None and row["path"] in place and row["likelier"] in table.classes:
            label = table.classes.index(row["likelier"])
            beside = nearest_of_class(paths.FEATURES, table, place[row["path"]], label)
        path = None if beside is None or table is None else str(table.paths[beside])
        shown.append(
            {
                "path": row["path"],
                "label": results.name(row["label"]),
                "likelier": results.name(row["likelier"]),
                "p_label": float(row["p_label"]),
                "p_likelier": float(row["p_likelier"]),
                "image": thumbnails.of_file(row["path"]),
                "beside": path,
                "beside_image": None if path is None else thumbnails.of_file(path),
            }
        )
    return shown


def findings(found: pd.DataFrame, known: set[str], thumbnails: Thumbnails) -> list[dict[str, Any]]:
    """Return data/findings.csv by kind of finding: how many there are, and the first ones with their pictures.

    Parameters
    ----------
    found : the columns finding, path, other (an image, or empty) and value.
    known : the paths of all images.
    thumbnails : collects the pictures.
    """
    groups = []
    for name, rows in found.groupby("finding", sort=False):
        shown = [
            {
                "path": row["path"],
                "image": thumbnails.of_file(row["path"]) if row["path"] in known else None,
                "other": row["other"],
                "other_image": thumbnails.of_file(row["other"]) if row["other"] in known else None,
                "value": row["value"],
            }
            for row in rows.head(MOST_OF_FINDING).to_dict("records")
        ]
        groups.append({"name": str(name).replace("_", " "), "total": len(rows), "shown": shown})
    return groups


def parts(table: ImageTable, results: Results) -> dict[str, Any]:
    """Return the number of images of each class and part."""
    classes = len(table.classes)
    counts = {part: np.bincount(table.labels[table.parts == part], minlength=classes).tolist() for part in PARTS}
    rows = [
        {"name": results.name(label), **{part: counts[part][number] for part in PARTS}}
        for number, label in enumerate(table.classes)
    ]
    for row in rows:
        row["total"] = sum(row[part] for part in PARTS)
    return {"rows": rows, "most": max(row["total"] for row in rows), "images": len(table)}


def views(
    table: ImageTable, augment: Mapping[str, Any], backbone: Mapping[str, Any], thumbnails: Thumbnails
) -> list[dict[str, Any]]:
    """Return some training images as the network sees them: the image itself and its first augmented views.

    Parameters
    ----------
    table : all images.
    augment : the settings of `augmentation.view`.
    backbone : data/backbone/backbone.json.
    thumbnails : collects the pictures.
    """
    train = table.part("train")
    pixels = Pixels(backbone["image_size"], backbone["resize"], augment)
    shown = []
    for row in np.argsort(train.sha256, kind="stable")[:VIEWED_IMAGES]:
        path = str(train.paths[row])
        try:
            seen = list(pixels.views(paths.RAW / path, str(train.sha256[row]), range(VIEWS + 1)))
        except UnreadableImageError:
            continue
        shown.append(
            {
                "path": path,
                "images": [thumbnails.of_pixels(f"view {number} of {path}", view) for number, view in enumerate(seen)],
            }
        )
    return shown


def heat_maps(
    make: HeatMaps,
    results: Results,
    records: list[dict[str, Any]],
    description: Mapping[str, Any],
    thumbnails: Thumbnails,
) -> list[dict[str, Any]]:
    """Return where the network looked in images: for the class that it predicted, and for the right one.

    Parameters
    ----------
    make : of the exported network.
    results : the judgement.
    records : of the images, as `TestImages.records`.
    description : models/labels.json.
    thumbnails : collects the pictures.
    """
    shown = []
    for record in records[:MOST_HEAT_MAPS]:
        path, predicted, actual = record["path"], record["ranked"][0][0], record["actual"]
        try:
            crop = loader.load(paths.RAW / path, description["image_size"], description["resize"])
        except UnreadableImageError:
            continue
        heat = make(crop, [predicted, actual])[..., np.newaxis]
        # On a grey picture the heat stands out, whatever the image's own colours.
        grey = crop.mean(axis=2, keepdims=True)
        mixed = (grey * (1 - 0.7 * heat) + 0.7 * heat * HEAT).astype(np.uint8)
        keys = ("seen", "predicted", "actual")
        numbers = [
            thumbnails.of_pixels(f"{key} in {path}", pixels) for key, pixels in zip(keys, (crop, *mixed), strict=True)
        ]
        names = {"predicted_name": results.names[predicted], "actual_name": results.names[actual]}
        shown.append({"path": path, **dict(zip(keys, numbers, strict=True)), **names})
    return shown
