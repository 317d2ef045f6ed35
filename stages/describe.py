"""Stage describe: write the model card, and the hashes of all that the exported model was made from."""

from pathlib import Path
from typing import Any

from graft.core import paths
from graft.core.files import read_json, rows_of, sha256_of, write_json, write_text
from graft.core.stage import run_stage
from graft.report.model_card import Facts, data_set_name, model_card
from graft.settings import datasets, params
from graft.settings.resolved import WEIGHT_NAMES, resolved_weights

FILES = {
    paths.CLASSIFIER: "the classifier, for LiteRT and MediaPipe Tasks",
    paths.LABELS: "classes in the order of the probabilities, and how an image becomes square",
}
INPUTS = (paths.HEAD, paths.FINE_TUNED)


def weights() -> str:
    """Return imagenet, none, or "file" for a file of the user's: its path is nobody else's concern."""
    found = resolved_weights(paths.WEIGHTS)
    return found if found in WEIGHT_NAMES else "file"


def provenance(dataset: str, described: dict[Path, str]) -> dict[str, Any]:
    """Return the hashes of data, weights and files, and the versions of what computed.

    There is no commit and no date in it: the file would change with each commit, although the model stays.
    """
    known = datasets.entries().get(dataset)
    files = [*described, *INPUTS]
    return {
        "data": {
            "name": data_set_name(dataset),
            **({"archive_sha256": known.sha256} if known and known.sha256 else {}),
            "images": sum(1 for _ in rows_of(paths.SPLIT)),
            # Of the table of all images: path, label and SHA-256 of each, without and with part and corrections.
            "images_csv_sha256": sha256_of(paths.IMAGES),
            "split_csv_sha256": sha256_of(paths.SPLIT),
        },
        "backbone": {
            "name": read_json(paths.BACKBONE_DESCRIPTION)["backbone"],
            "weights": weights(),
            "weights_sha256": sha256_of(paths.BACKBONE_WEIGHTS),
        },
        "environment": read_json(paths.ENVIRONMENT),
        "files": {path.as_posix(): {"bytes": path.stat().st_size, "sha256": sha256_of(path)} for path in files},
    }


def main() -> None:
    parameters = params.load()
    others = sorted(path for path in paths.FORMATS_FOLDER.iterdir() if path.name != paths.LABELS.name)
    described = FILES | dict.fromkeys(others, "the same classifier in another format")
    names = {path: path.relative_to(paths.CLASSIFIER.parent).as_posix() for path in described}
    facts = Facts(
        dataset=parameters.dataset,
        own_parts=any(row["split"] == "test" for row in rows_of(paths.IMAGES)),
        labels=read_json(paths.LABELS),
        accuracy=read_json(paths.ACCURACY),
        per_class=read_json(paths.PER_CLASS),
        export=read_json(paths.EXPORT_METRICS),
        head=read_json(paths.HEAD_METRICS),
        data=read_json(paths.DATA_METRICS),
        backbone=read_json(paths.BACKBONE_DESCRIPTION),
        weights=weights(),
        files={names[path]: (path.stat().st_size, about) for path, about in described.items()},
        unknown=read_json(paths.UNKNOWN),
        formats=read_json(paths.FORMAT_METRICS),
    )
    write_text(paths.MODEL_CARD, model_card(facts))
    write_json(paths.PROVENANCE, provenance(parameters.dataset, described))
    print(f"{paths.MODEL_CARD} says what the classifier is, {paths.PROVENANCE} what it was made from")


if __name__ == "__main__":
    run_stage(main)
