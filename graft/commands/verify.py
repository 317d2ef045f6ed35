"""graft verify: run the pipeline of the last commit from nothing, and compare every output with dvc.lock."""

import os
import re
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from tempfile import TemporaryDirectory

from graft.commands import revisions
from graft.commands.experiments import failure
from graft.core.errors import GraftError
from graft.core.files import read_json
from graft.core.paths import FINE_TUNE_METRICS, SOURCE, WEIGHTS, repository
from graft.settings.yaml_file import read_yaml
from graft.training.precision import processor_kind

EXAMPLE = "graft verify"
LOCK = Path("dvc.lock")
# Lines of DVC about what to do with the outputs.
ADVICE = re.compile(r"To (track|enable)|\t|Use `dvc|(Updat|Generat)ing lock|> |ERROR: |error: ")


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of `graft verify`: it has none."""


def main(arguments: Namespace) -> int:
    """Print each output that differs; return the exit status, 1 if one does."""
    revisions.require_commit()
    with TemporaryDirectory(prefix="graft-verify-") as folder:
        clone = Path(folder, "clone")
        _run("git", "clone", "--quiet", str(repository().resolve()), str(clone))
        for link in (SOURCE, WEIGHTS):
            # A relative one leads nowhere in a clone elsewhere, and DVC then fails; resolve writes it anew.
            if (clone / link).is_symlink():
                (clone / link).unlink()
        _bring_imported_images(clone)
        expected, kind = output_hashes(clone / LOCK), processor_of(clone / FINE_TUNE_METRICS)
        store = {"GRAFT_STORE": str(Path(folder, "store")), "DVC_SITE_CACHE_DIR": str(Path(folder, "site"))}
        # Relative paths in params.yaml are meant from the repository itself.
        root = {"DVC_ROOT": str(repository().resolve())}
        _run(sys.executable, "-m", "dvc", "repro", "--no-run-cache", folder=clone, variables=store | root)
        found = output_hashes(clone / LOCK)
    different = [(stage, path) for stage, path in expected if found.get((stage, path)) != expected[stage, path]]
    for stage, path in different:
        print(f"FAIL  {stage}: {path} is another file than dvc.lock says")
    if different:
        print(f"{len(different)} of {len(expected)} outputs differ, first those of stage {different[0][0]}")
        if kind != processor_kind():
            print(f"{LOCK} is from {kind}; this processor, {processor_kind()}, rounds otherwise")
        return 1
    print(f"pass  all {len(expected)} outputs are those of dvc.lock")
    return 0


def _bring_imported_images(clone: Path) -> None:
    """Copy what `graft import` has put under DVC from the repository's cache; the stages' outputs stay away."""
    imported = revisions.git("ls-files", "-z", "*.dvc").stdout.decode().split("\0")[:-1]
    if not imported:
        return
    dvc = (sys.executable, "-m", "dvc")
    cache = subprocess.run([*dvc, "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip()
    # A cache has the layout of a remote.
    _run(*dvc, "remote", "add", "--quiet", "--local", "repository", cache, folder=clone)
    _run(*dvc, "pull", "--remote", "repository", *imported, folder=clone)


def output_hashes(lock: Path) -> dict[tuple[str, str], str]:
    """Return the hash of each output by stage and path, in running order.

    Raises
    ------
    GraftError
        If the file is missing.
    """
    if not lock.is_file():
        raise GraftError(f"{LOCK}: the last commit has none; `dvc repro`, then commit it")
    content = read_yaml(lock)
    if not isinstance(content, dict) or not isinstance(content.get("stages"), dict):
        raise GraftError(f"{lock.name}: it lists no stages; `git checkout {LOCK}` brings back that of the last commit")
    stages = content["stages"]
    return {
        (stage, output["path"]): output["md5"] for stage, entry in stages.items() for output in entry.get("outs", [])
    }


def processor_of(metrics: Path) -> str:
    """Return the kind of processor that a commit's metrics/fine_tune.json is from, as `processor_kind` writes it."""
    content = read_json(metrics) if metrics.is_file() else {}
    return content.get("processor", "an unknown kind of processor")


def _run(*command: str, folder: Path | None = None, variables: dict[str, str] | None = None) -> None:
    # The stages are run as `python`, which must be this one.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = os.environ | {"PATH": path} | (variables or {})
    lines = []
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            lines.append(line)
            # What DVC advises is about a folder that is deleted at the end.
            if line.strip() and not ADVICE.match(line):
                print(line, end="", flush=True)
    if process.returncode:
        words = [word for word in command if not word.startswith(("-", "/"))]
        raise GraftError(f"{failure(''.join(lines))}; `{' '.join(words[:2])}` failed in a clone of the last commit")
