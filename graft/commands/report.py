"""graft report: write one page for the browser about the last run, from what the stages wrote."""

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from graft.commands import revisions
from graft.commands.paired import compared_with
from graft.core import paths
from graft.core.errors import GraftError
from graft.core.files import require_no_folder, write_text
from graft.report.data_pictures import HeatMaps
from graft.report.page import Run, page
from graft.report.results import Results, read_optional, read_results
from graft.report.tables_of_files import text
from graft.report.words import right_of, span
from graft.settings import datasets, params

EXAMPLE = "graft report --against main"
LOCK = Path("dvc.lock")
# Whoever adds a parameter changes this file: the commit that did so last has params.yaml with the defaults.
SCHEMA = Path("graft/settings/params.py")


def parameters() -> params.Parameters | None:
    """Return params.yaml, or None where it is wrong now: the page is about a run with earlier settings."""
    try:
        return params.load()
    except GraftError as error:
        print(f"warning: {error}; the page has no parameters", file=sys.stderr)
        return None


def facts(settings: params.Parameters | None) -> dict[str, str]:
    """Return what the result was made with: data set, backbone, commit, and the hashes of the data and the model."""
    found = {} if settings is None else {"data set": settings.dataset, "backbone": settings.backbone}
    if commit := revisions.commit_at("HEAD"):
        changed = revisions.git("status", "--porcelain", "--untracked-files=no").stdout.strip()
        found["commit"] = f"{commit}{', and changes that are not committed' if changed else ''}"
    hashes = dict(_hashes())
    found |= {
        name: hashes[path]
        for name, path in (("data (MD5)", paths.RAW), ("model (MD5)", paths.CLASSIFIER))
        if path in hashes
    }
    return found


def _hashes() -> Iterator[tuple[Path, str]]:
    """Yield the hash of each output that dvc.lock lists."""
    try:
        stages = yaml.safe_load(LOCK.read_text(encoding="utf-8"))["stages"]
        for stage in stages.values():
            for output in stage.get("outs", []):
                if "md5" in output:
                    yield Path(output["path"]), output["md5"]
    except (OSError, KeyError, TypeError, AttributeError, yaml.YAMLError):
        # Stages that were run by hand leave no such file.
        return


def changed_parameters(settings: params.Parameters | None) -> tuple[list[tuple[str, str, str]], str]:
    """Return the parameters that differ from the defaults, as rows (key, default, here), and where these are from."""
    none = "The defaults are not known here: git has no commit with them."
    found = revisions.git("log", "-1", "--format=%H", "--", SCHEMA.as_posix())
    commit = found.stdout.decode().strip()
    if settings is None or found.returncode or not commit:
        return [], none
    try:
        with TemporaryDirectory() as folder:
            copy = Path(folder, paths.PARAMETERS)
            copy.write_bytes(revisions.file_at(commit, paths.PARAMETERS))
            defaults = params.load(copy)
    except GraftError:
        return [], none
    before, now = (dict(_flat(values.model_dump())) for values in (defaults, settings))
    rows = [(key, text(before[key]), text(value)) for key, value in now.items() if value != before[key]]
    return rows, f"Defaults: params.yaml at {commit[:10]}." + ("" if rows else " None differs.")


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        # The names of the classes are a value of their own.
        if isinstance(value, Mapping) and key != "display_names":
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def compared(results: Results, revision: str) -> tuple[dict[str, str], str]:
    """Return the class that another revision predicts for each image, and a sentence on the comparison.

    Raises
    ------
    GraftError
        If there is no such revision, or it has other images or classes.
    """
    found, other = compared_with(results.predictions, revision)
    verdict = "so they differ" if found.p_value <= 0.05 else "so this can be chance"
    sentence = (
        f"Of {found.images:,} test images {found.accuracy:.1%} are right here, "
        f"{found.other_accuracy:.1%} at {revision}. "
        f"{found.only_this_right} are right only here and {found.only_other_right} only there "
        f"(McNemar's test: p {found.p_value:.3g}, {verdict})."
    )
    return dict(zip(other["path"], other["predicted"], strict=True)), sentence


def heat_maps() -> HeatMaps | None:
    """Return what makes the heat maps of the exported network, or None where it has none or is not here."""
    if not paths.CLASSIFIER.is_file() or not find_spec("graft.serving.class_activation"):
        return None
    network = import_module("graft.serving.class_activation").open_network(paths.CLASSIFIER)
    return None if network is None else network.maps


def following(settings: params.Parameters | None) -> str:
    """Return what to do next: bring own photos, or, with these, correct labels; then test on every image."""
    if settings is not None and settings.dataset in datasets.entries():
        return "graft import /path/to/photos, a folder that holds a folder of photos for each class; then dvc repro"
    suspects = read_optional(paths.DATA_METRICS)
    number = suspects.get("suspects", 0) if isinstance(suspects, dict) else 0
    if number:
        looks = f"{number:,} label{'s look' if number != 1 else ' looks'}"
        return f"{looks} wrong: see Suspect labels on the page; docs/data.md says how to correct labels"
    return "commit (git add . && git commit -m results), then try another recipe: graft preset lists them"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of `graft report`."""
    parser.add_argument(
        "--against", metavar="REV", help="also compare image by image with this commit, branch, tag or experiment"
    )
    parser.add_argument(
        "--output", metavar="FILE", type=Path, default=paths.REPORT, help=f"the page to write (default {paths.REPORT})"
    )


def main(arguments: Namespace) -> None:
    """Write the page; print how often the classifier is right, where the page is, and what to do next."""
    if arguments.output.suffix not in (".html", ".htm"):
        raise GraftError(f"--output {arguments.output}: the name of the page must end in .html")
    require_no_folder(arguments.output, "--output")
    results = read_results()
    against, note = None, ""
    if arguments.against is not None:
        other, note = compared(results, arguments.against)
        against = (arguments.against, other)
    settings = parameters()
    run = Run(settings, facts(settings), changed_parameters(settings), against, note, heat_maps())
    content, left_out = page(results, run)
    write_text(arguments.output, content)
    for line in left_out:
        print(line)
    print(f"right:  {right_of(results.accuracy)}, {span(results.accuracy)}")
    print(f"page:   {os.path.abspath(arguments.output)}, {len(content.encode()) / 1e6:.1f} MB; open it in a browser")  # noqa: PTH100 - as the user named it
    print(f"next:   {following(settings)}")
