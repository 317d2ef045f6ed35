"""The page about a run, one HTML file that needs nothing else: what the stages wrote, in words, charts and pictures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup

from graft.core import paths
from graft.core.errors import GraftError
from graft.images.table import ImageTable, read_image_table
from graft.report import charts, data_pictures, judgement, sections_in_words, words
from graft.report.feature_map import feature_map
from graft.report.pictures import TestImages
from graft.report.results import Results, read_optional, read_table
from graft.report.tables_of_files import table_of, table_of_keys
from graft.report.template import filled_in
from graft.report.thumbnails import Thumbnails
from graft.settings import params
from graft.settings.resolved import view_settings

# The columns of metrics/operating_points.csv that are of all classes together.
OVERALL = ("threshold", "coverage", "accuracy")
CLASS_KEYS = (
    "class",
    "images",
    *(f"{name}{end}" for name in ("precision", "recall", "f1") for end in ("", "_low", "_high")),
)
# What the sections are made of, for the message about a file that has another form.
SOURCES = {
    "suspects": (paths.SUSPECTS, paths.FEATURES),
    "heat_maps": (paths.LABELS,),
    "views": (paths.BACKBONE_DESCRIPTION,),
    "findings": (paths.FINDINGS,),
    "places": (paths.FEATURES,),
    "in_words": (paths.HEAD_METRICS, paths.FINE_TUNE_METRICS, paths.EXPORT_METRICS),
    "references": (paths.HEAD_METRICS, paths.EXPORT_METRICS),
    "per_class": (paths.PER_CLASS,),
    "data_doctor": (paths.DATA_METRICS,),
    "unknown": (paths.UNKNOWN,),
    "refused": (paths.RAW_REPORT,),
    "curves": (paths.HISTORY, paths.HEAD_METRICS),
    "provenance": (paths.ENVIRONMENT,),
}


@dataclass(frozen=True)
class Run:
    """What the page is about, beside what the stages wrote.

    Attributes
    ----------
    parameters : params.yaml; None where it cannot be read.
    facts : names and values of what the result was made with: commit, hash of the data, and so on.
    changed_parameters : rows (key, default, value), and a sentence on where the defaults are from.
    against : another revision's predictions: its name, and the class that it predicts by path; None for none.
    note : a sentence on the comparison with it.
    heat_maps : makes the heat maps of the exported network; None where it has none.
    """

    parameters: params.Parameters | None
    facts: Mapping[str, str] = field(default_factory=dict)
    changed_parameters: tuple[list[tuple[str, str, str]], str] = ((), "")  # type: ignore[assignment]
    against: tuple[str, Mapping[str, str]] | None = None
    note: str = ""
    heat_maps: data_pictures.HeatMaps | None = None


def page(results: Results, run: Run) -> tuple[str, list[str]]:
    """Return the text of the page, and a line for each section that is left out."""
    thumbnails = Thumbnails(paths.RAW)
    sections = _Sections(results, run, thumbnails)
    context = sections.all()
    pictures = thumbnails.encoded()
    if pictures and not any(pictures):
        sections.missing["pictures"] = (
            f"The pictures are left out: the images of {paths.RAW} are not here. `dvc pull` or `dvc repro` brings them."
        )
    data = {
        "images": pictures,
        "records": sections.images.records,
        "names": results.names,
        "cells": context["cells"],
    }
    return filled_in(context | {"missing": sections.missing, "data": data}), list(sections.missing.values())


def _made(name: str, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        if name not in SOURCES:
            raise
        files = ", ".join(map(str, SOURCES[name]))
        raise GraftError(f"{files}: not as the stages write it; run `dvc repro`") from error


class _Sections:
    """Makes the content of each section; where its input is missing, a line says so instead."""

    def __init__(self, results: Results, run: Run, thumbnails: Thumbnails) -> None:
        self._results, self._run, self._thumbnails = results, run, thumbnails
        self.images = TestImages(results, thumbnails)
        self.missing: dict[str, str] = {}
        self._head, self._tuned = read_optional(paths.HEAD_METRICS), read_optional(paths.FINE_TUNE_METRICS)
        self._table = self._image_table()

    def all(self) -> dict[str, Any]:
        """Return the content of all sections by name; the pictures are asked for in the order of their importance."""
        mistakes = self.images.mistakes()
        makers: dict[str, Callable[[], Any]] = {
            "against": self._against,
            "suspects": self._suspects,
            "unsure": self.images.unsure,
            "heat_maps": lambda: self._heat_maps(mistakes["shown"]),
            "views": self._views,
            "findings": self._findings,
            "cells": self.images.cells,
            "places": self._places,
            "in_words": self._in_words,
            "references": lambda: words.references(self._results, self._head, read_optional(paths.EXPORT_METRICS)),
            "matrix": lambda: judgement.matrix(self._results.matrix),
            "per_class": self._per_class,
            "parts": lambda: self._table and data_pictures.parts(self._table, self._results),
            "data_doctor": lambda: self._file("data", "Data doctor", paths.DATA_METRICS, sections_in_words.data_doctor),
            "refused": self._refused,
            "curves": self._curves,
            "reliability": lambda: judgement.reliability(self._results.confidence, self._results.right),
            "operating_points": self._operating_points,
            "unknown": lambda: self._file(
                "unknown",
                "Prediction sets and images of none of the classes",
                paths.UNKNOWN,
                sections_in_words.limits,
            ),
            "formats": lambda: self._file("formats", "Exported formats", paths.FORMAT_METRICS, table_of),
            "benchmark": lambda: (found := read_optional(paths.BENCHMARK)) and table_of(found),
            "provenance": self._provenance,
        }
        return {"mistakes": mistakes, "results": self._results} | {
            name: _made(name, make) for name, make in makers.items()
        }

    def _left_out(self, name: str, title: str, path: Path | str, remedy: str = "`dvc repro` writes it") -> None:
        self.missing[name] = f"{title}: left out, because {path} is missing; {remedy}."

    def _file(self, name: str, title: str, path: Path, content_of: Callable[[Any], Any]) -> Any:
        found = read_optional(path)
        if found is None:
            self._left_out(name, title, path)
        elif not found:
            self.missing[name] = f"{title}: none in this run."
        return found and content_of(found)

    def _image_table(self) -> ImageTable | None:
        try:
            return read_image_table()
        except GraftError as error:
            self.missing["parts"] = f"Images of each class and part, views and map: left out, because of {error}."
            return None

    def _in_words(self) -> list[tuple[str, str]]:
        results = self._results
        choice = self._run.parameters.export.model if self._run.parameters else None
        exported = read_optional(paths.EXPORT_METRICS)
        found = [
            ("Against guessing", words.majority(results)),
            ("Against the head alone", words.head_alone(results, self._head, exported)),
            ("Its probabilities", words.calibration(results)),
            ("What was exported", words.export(exported, self._head, self._tuned, choice)),
            ("Where it fails", words.weakest(results)),
        ]
        return [(title, text) for title, text in found if text]

    def _per_class(self) -> list[dict[str, Any]] | None:
        found = read_optional(paths.PER_CLASS)
        if found is None:
            self._left_out("per_class", "Each class", paths.PER_CLASS)
            return None
        return [{**{key: row[key] for key in CLASS_KEYS}, "name": self._results.name(row["class"])} for row in found]

    def _refused(self) -> dict[str, int] | None:
        found = read_optional(paths.RAW_REPORT)
        return None if found is None else {"refused": len(found["refused"]), "copies": found["copies"]}

    def _against(self) -> dict[str, Any] | None:
        if self._run.against is None:
            return None
        revision, other = self._run.against
        return self.images.changed(other, revision) | {"note": self._run.note}

    def _suspects(self) -> dict[str, Any] | None:
        found = read_table(paths.SUSPECTS, data_pictures.SUSPECT_COLUMNS)
        if found is None:
            self._left_out("suspects", "Suspect labels", paths.SUSPECTS)
            return None
        shown = data_pictures.suspects(found, self._table, self._results, self._thumbnails)
        return {"total": len(found), "shown": shown}

    def _findings(self) -> list[dict[str, Any]] | None:
        found = read_table(paths.FINDINGS, data_pictures.FINDING_COLUMNS)
        if found is None:
            self._left_out(
                "findings", "Findings about single images", paths.FINDINGS, "`dvc pull` or `dvc repro` brings it"
            )
            return None
        known = set() if self._table is None else set(self._table.paths)
        return data_pictures.findings(found, known, self._thumbnails)

    def _heat_maps(self, numbers: list[int]) -> list[dict[str, Any]] | None:
        description = read_optional(paths.LABELS)
        if self._run.heat_maps is None or description is None:
            self.missing["heat_maps"] = (
                "Where the network looked: left out, because the exported network gives no such map."
            )
            return None
        records = [self.images.records[number] for number in numbers]
        return data_pictures.heat_maps(self._run.heat_maps, self._results, records, description, self._thumbnails)

    def _views(self) -> list[dict[str, Any]] | None:
        backbone = read_optional(paths.BACKBONE_DESCRIPTION)
        if self._table is None or self._run.parameters is None or backbone is None:
            self._left_out(
                "views", "What the network sees", paths.BACKBONE_DESCRIPTION, "`dvc pull` or `dvc repro` brings it"
            )
            return None
        augment = view_settings(self._run.parameters.augment, self._run.parameters.dataset)
        return data_pictures.views(self._table, augment, backbone, self._thumbnails)

    def _places(self) -> Markup | None:
        found = None if self._table is None else feature_map(paths.FEATURES, self._table)
        if found is None or self._table is None:
            if paths.FEATURES.exists() and self._table is not None:
                self.missing["places"] = "Map of the images: left out, because there are too few images."
            else:
                self._left_out("places", "Map of the images", paths.FEATURES, "`dvc pull` or `dvc repro` brings it")
            return None
        row_of = {path: row for row, path in enumerate(self._results.predictions["path"])}
        shown = [
            (row_of[path], place)
            for path, place in zip(self._table.paths[found[0]], found[1], strict=True)
            if path in row_of
        ]
        rows = [row for row, _ in shown]
        numbers = self.images.numbers(rows)
        classes, right = self._results.actual, self._results.right
        return charts.scatter(
            "Map of the test images by their features",
            [(float(x), float(y)) for _, (x, y) in shown],
            numbers,
            [int(classes[row]) for row in rows],
            [not right[row] for row in rows],
        )

    def _curves(self) -> dict[str, Any] | None:
        history = read_table(paths.HISTORY, judgement.HISTORY_COLUMNS)
        if history is None:
            self._left_out("curves", "Learning curves", paths.HISTORY)
            return None
        if history.empty:
            self.missing["curves"] = (
                "Learning curves: left out, because fine-tuning had no epoch (fine_tune.epochs: 0)."
            )
            return None
        tuning = self._run.parameters.fine_tune if self._run.parameters else None
        return judgement.curves(history, (self._head or {}).get("head_validation", {})) | {"tuning": tuning}

    def _operating_points(self) -> list[dict[str, Any]] | None:
        found = read_table(paths.OPERATING_POINTS, OVERALL)
        if found is None:
            self._left_out("operating_points", "Operating points", paths.OPERATING_POINTS)
            return None
        overall = found[list(OVERALL)].astype(float).drop_duplicates()
        return [{str(key): value for key, value in row.items()} for row in overall.to_dict("records")]

    def _provenance(self) -> dict[str, Any]:
        changed, source = self._run.changed_parameters
        every = self._run.parameters.model_dump() if self._run.parameters else {}
        return {
            "facts": dict(self._run.facts),
            "changed": changed,
            "source": source,
            "versions": dict(read_optional(paths.ENVIRONMENT) or {}),
            "parameters": table_of_keys(every) if every else None,
        }
