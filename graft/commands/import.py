"""graft import: bring a folder or archive of photos under DVC, as the data set of the pipeline.

`dvc push` and `dvc pull` then carry the photos to other machines, like all that the stages write.
"""  # noqa: N999 - the name of the command

import json
import os
import shlex
import subprocess
import sys
import tarfile
import zipfile
from argparse import ArgumentParser, Namespace
from pathlib import Path

import yaml

from graft.commands import revisions
from graft.commands.experiments import failure
from graft.commands.gate import note_on_thresholds
from graft.commands.mend import mend
from graft.commands.parameters_text import with_values
from graft.core import paths
from graft.core.errors import GraftError, one_line
from graft.core.files import write_text
from graft.data.folders import check_links, find_images, skip_wrappers
from graft.data.shard_set import local_shards
from graft.settings import datasets, params
from graft.settings.shards import folder_of, is_local_pattern

EXAMPLE = "graft import ~/Pictures/flowers"
# The folder of the repository for the data sets.
PHOTOS = Path("photos")


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of `graft import`."""
    parser.add_argument("photos", metavar="FOLDER_OR_ARCHIVE", help="as `dataset` in params.yaml takes it")


def main(arguments: Namespace) -> None:
    """Add the photos to DVC, write their path into params.yaml, and print what to commit."""
    revisions.require_commit()
    mend(paths.repository())
    source = checked_source(arguments.photos)
    # Before anything is copied.
    params.load()
    # Not read_text, which changes line ends.
    text = paths.PARAMETERS.read_bytes().decode("utf-8")
    unsaved = bool(revisions.git("diff", "HEAD", "--name-only", "--", str(paths.PARAMETERS)).stdout)
    target = place_of(source)
    name = f"./{target}" if str(target) in datasets.entries() else str(target)
    # Of a path with a line break only the first line, which is then refused.
    shown = yaml.safe_dump(name, allow_unicode=True, width=float("inf")).split("\n")[0]
    changed = with_values(text, {"dataset": shown, "dataset_sha256": ""}, str(paths.PARAMETERS))
    replaced = source != target.absolute() and os.path.lexists(target)
    pointer = add_to_dvc(source, target)
    write_text(paths.PARAMETERS, changed)
    ignored = pointer.parent / ".gitignore"
    files = shlex.join(map(str, (paths.PARAMETERS, pointer, ignored)))
    instead = ", in place of what was there" if replaced else ""
    print(f"{one_line(source)} is under DVC as {one_line(target)}{instead}, and `dataset` in params.yaml names it")
    if note := note_on_thresholds(params.load()):
        print(note)
    if unsaved:
        print("params.yaml has other changes too that are not committed: see `git diff params.yaml`")
    print(f"next: git add {files} && git commit -m {shlex.quote(f'Data set {target.name}')} && dvc repro")


def checked_source(text: str) -> Path:
    """Return the absolute path of a folder or archive that the pipeline can use.

    Raises
    ------
    GraftError
        If it is none, or holds no classes of images, or holds the repository, or is written by a stage.
    """
    if not text:
        raise GraftError("an empty name; give the folder or archive of the photos")
    if datasets.is_address(text) or (text in datasets.entries() and not Path(text).exists()):
        raise GraftError(f"{text}: every machine can fetch this; write it as `dataset` in params.yaml")
    if is_local_pattern(text, Path()):
        raise GraftError(f"{text}: a pattern; give the folder of the shards, {folder_of(text) or '.'}")
    path = Path(os.path.expanduser(text))
    # Not through the last part: a link has the name that its owner gave it.
    path = path.resolve() if path.name in ("", "..") else path.parent.resolve() / path.name
    # Not by its name in the catalog: `digits` is the folder of that name here.
    datasets.find(str(path), None, paths.repository())
    here = Path.cwd().resolve()
    if here.is_relative_to(path.resolve()):
        raise GraftError(f"{text}: it holds this repository; give the folder of the photos alone")
    written = [output for output in paths.OUTPUTS if path.resolve().is_relative_to(here / output)]
    if written:
        raise GraftError(f"{text}: the stages write {written[0]}; move the photos out of it")
    if path.is_dir():
        check_links(path, text)
        if local_shards(path, text) is None:
            find_images(skip_wrappers(path), text)
    elif not tarfile.is_tarfile(path) and not zipfile.is_zipfile(path):
        raise GraftError(f"{text}: damaged, or no .tar, .tgz or .zip; get it again")
    return path


def place_of(source: Path) -> Path:
    """Return where the photos have their place in the repository, a relative path.

    A folder of the repository stays where it is. Anything else goes to the folder photos, under its own name.

    Raises
    ------
    GraftError
        If git has the photos. Or if there are others in that place that DVC does not know, or that have changed since
        DVC saw them.
    """
    here = Path.cwd().resolve()
    if source.is_relative_to(here) and not source.is_symlink():
        own = source.relative_to(here)
        if revisions.git("ls-files", "--", str(own)).stdout:
            remove = shlex.join(["git", "rm", "-r", "--cached", "--quiet", str(own)])
            raise GraftError(f"{own}: git has it, so every clone has it too; to move it to DVC, first `{remove}`")
        return own
    target = PHOTOS / source.name
    if not os.path.lexists(target):
        return target
    if target.is_symlink() or not Path(f"{target}.dvc").is_file():
        raise GraftError(f"{target}: is there and not under DVC; remove it, or give the photos another name")
    if json.loads(_dvc("status", "--json", f"{target}.dvc").stdout or "{}"):
        name = shlex.quote(str(target))
        raise GraftError(
            f"{target}: has changed since DVC saw it; keep that by `dvc add {name}`, or undo it by `dvc checkout "
            f"--force {name}`"
        )
    return target


def add_to_dvc(source: Path, target: Path) -> Path:
    """Let DVC take the photos in; return its .dvc file.

    Raises
    ------
    GraftError
        If DVC fails, with its reason.
    """
    print(f"DVC reads {one_line(source)} ...", flush=True)
    if target.resolve() != source:
        target.parent.mkdir(exist_ok=True)
        # DVC decides how: by a link to its cache where the file system and `cache.type` allow, else by a copy.
        _require(_dvc("add", "--quiet", "--force", "--out", str(target), str(source.resolve())), source)
    # With --out DVC takes in what .dvcignore names too, and would then miss it for ever.
    pointer = datasets.dvc_file(target, Path()) or Path(f"{target}.dvc")
    _require(_dvc("add", "--quiet", str(pointer.with_suffix(""))), source)
    return Path(os.path.relpath(pointer))


def _dvc(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)


def _require(done: "subprocess.CompletedProcess[str]", source: Path) -> None:
    if done.returncode:
        raise GraftError(f"{source}: DVC does not take it in: {failure(done.stderr)}")
