"""What a name, a path or `auto` in params.yaml stands for."""

import json
import os
import re
import reprlib
from pathlib import Path

from graft.core.errors import GraftError
from graft.core.files import write_json
from graft.settings import backbone_table, datasets, params
from graft.settings.yaml_file import read_yaml

WEIGHT_NAMES = ("imagenet", "none")
# What the names of a TensorFlow checkpoint's files have behind the name of the checkpoint.
CHECKPOINT_PART = re.compile(r"\.(index|meta|data-\d+-of-\d+)$")


def image_size(setting: int | str, dataset: str, backbone: str) -> int:
    """Return the pixels on each side of the images that the backbone sees.

    Parameters
    ----------
    setting : `image_size` of params.yaml; ``auto`` is the data set's own, or else the backbone's.
    dataset, backbone : of params.yaml.

    Raises
    ------
    GraftError
        If the backbone does not take such small images.
    """
    record = backbone_table.get(backbone)
    size = wanted_size(setting, dataset)[0] or record.image_size
    if size < record.minimum_size:
        raise GraftError(f"image_size: {size} is too small, {backbone} takes {record.minimum_size} or more")
    return size


def wanted_size(setting: int | str, dataset: str) -> tuple[int | None, bool]:
    """Return the pixels on each side that settings ask for, None for the backbone's own, and whether it is ``auto``.

    Parameters
    ----------
    setting : `image_size` of params.yaml.
    dataset : of params.yaml.
    """
    if isinstance(setting, int):
        return setting, False
    return datasets.entry_or_default(dataset).image_size, True


def view_settings(augment: params.Augment, dataset: str) -> dict[str, object]:
    """Return the settings of augmented views by name: `augment` without the number of views.

    Where `flip` is ``auto``, it is the data set's own.
    """
    flip = datasets.entry_or_default(dataset).flip if augment.flip == "auto" else augment.flip
    return augment.model_dump(exclude={"views"}) | {"flip": flip}


def weights_source(weights: str, root: Path) -> Path | dict[str, str]:
    """Return what data/weights stands for: a weights file, or the content of a JSON file with the name of the weights.

    Parameters
    ----------
    weights : of params.yaml: imagenet, none, or the path of a file or of a checkpoint (relative to `root`).
    root : the repository's folder.

    Returns
    -------
    Path or dict
        Of a checkpoint in several files, the one that ends in .index: it has a checksum of each variable, so it changes
        where a value does.

    Raises
    ------
    GraftError
        If there is no such file.
    """
    if weights in WEIGHT_NAMES:
        return {"weights": weights}
    path = root / os.path.expanduser(weights)
    index = Path(f"{CHECKPOINT_PART.sub('', str(path))}.index")
    try:
        if index.is_file():
            return index
        is_file = path.is_file()
    except OSError as error:
        raise GraftError(f"weights: {reprlib.repr(weights)} cannot be read: {error.strerror}") from error
    if not is_file:
        raise GraftError(f"weights: no file {weights}; give one, or one of {', '.join(WEIGHT_NAMES)}")
    return path


def require_no_output(key: str, setting: str, path: Path, root: Path) -> None:
    """Check that `dataset` or `weights` is nothing that a stage writes: DVC would delete the only copy before it runs.

    Parameters
    ----------
    key, setting : as they stand in params.yaml.
    path : what the setting stands for.
    root : the folder of the repository, which has dvc.yaml.

    Raises
    ------
    GraftError
        If it is an output of a stage, lies in one, or holds one.
    """
    pipeline = root / "dvc.yaml"
    stages = read_yaml(pipeline)["stages"].values() if pipeline.exists() else ()  # type: ignore[index]
    listed = [one for stage in stages for kind in ("outs", "metrics", "plots") for one in stage.get(kind, ())]
    # What a link leads to, and the link itself.
    places = Path(os.path.realpath(path)), Path(os.path.realpath(path.parent), path.name)
    for name in (next(iter(one)) if isinstance(one, dict) else one for one in listed):
        output = Path(os.path.realpath(root / Path(name).parent), Path(name).name)
        if any(place.is_relative_to(output) or output.is_relative_to(place) for place in places):
            raise GraftError(
                f"{key}: {setting}: dvc repro deletes and writes {name}; "
                "keep your files in another folder, such as photos"
            )


def require_own_folder(folder: Path, report: Path) -> None:
    """Check that the stage download has written the folder of its images, if it is there: DVC would delete it.

    Parameters
    ----------
    folder, report : data/raw, and what download writes with it.

    Raises
    ------
    GraftError
        If the folder has something inside, and the report is missing.
    """
    if not os.path.lexists(report) and folder.is_dir() and any(folder.iterdir()):
        raise GraftError(
            f"{folder}: the pipeline has not written it, as {report} is missing, and dvc repro would delete it: move "
            "your files to another folder, such as photos, or delete it if nothing in it is yours"
        )


def resolved_weights(source: Path) -> str:
    """Return the weights that data/weights stands for: imagenet, none, or the path of a file."""
    if is_local(source):
        return str(source.resolve())
    return json.loads(source.read_text(encoding="utf-8"))["weights"]


def link_or_write(output: Path, source: Path | dict[str, object] | dict[str, str], setting: str) -> None:
    """Make `output` a link to a path, or to a JSON file of a dictionary beside it, in place of the earlier link.

    Both are in git, and `output` is a link in either case: where git has a file in place of a link, DVC's experiments
    write the file's content through the link, over the user's archive or weights. The link is relative where the path
    in params.yaml is, so that it is right in every clone. For a path the JSON file is empty.

    Parameters
    ----------
    output : data/source or data/weights.
    source : what the link leads to, or what the file holds.
    setting : the path as it stands in params.yaml.

    Raises
    ------
    GraftError
        If a folder stands there: it may be somebody's only copy of their images.
    """
    if output.is_dir() and not output.is_symlink():
        raise GraftError(f"{output}: this name is for a link that the pipeline makes; move the folder elsewhere")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.unlink(missing_ok=True)
    entry = entry_of(output)
    write_json(entry, {} if isinstance(source, Path) else source)
    if isinstance(source, Path):
        output.symlink_to(_relative_link(output.parent, setting) or source.resolve())
    else:
        output.symlink_to(entry.name)


def entry_of(output: Path) -> Path:
    """Return the JSON file beside data/source or data/weights."""
    return output.with_suffix(".json")


def is_local(output: Path) -> bool:
    """Return whether data/source or data/weights is a link to something of the user, not to the JSON file beside it."""
    return output.is_symlink() and os.readlink(output) != entry_of(output).name


def _relative_link(folder: Path, setting: str) -> str | None:
    """Return the content of a link in `folder` to a relative path; None where it would not lead there.

    A temporary experiment is a clone, which lacks what neither git nor DVC has. And `folder` may be a link itself.
    """
    link = os.path.relpath(setting, folder)
    path, other = Path(setting), folder / link
    leads_there = path.exists() and other.exists() and other.samefile(path)
    return link if leads_there and not path.is_absolute() else None
