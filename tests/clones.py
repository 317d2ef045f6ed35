"""Temporary clones of this repository, in which tests run the real dvc on small generated images."""

import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import own_parameters
import yaml

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.prefix, "bin")
STAGES = list(yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"])
PATIENCE_SECONDS = 600
OUTPUTS = ("data", "models", "metrics")
# A proxy that nobody answers at: whatever wants the network fails at once.
NO_NETWORK = "http://127.0.0.1:9"
GIT_CONFIG = "[user]\nname = Test\nemail = test@example.org\n[safe]\ndirectory = *\n[init]\ndefaultBranch = main\n"
# All stages in seconds: a small network drawn at random, few views and epochs, and thresholds to match.
SMALL = {
    "dataset": "../photos",
    "backbone": "simple_cnn",
    "weights": "none",
    "image_size": 32,
    "lr": 1e-3,
    "head__C": 1.0,
    "head__views": 0,
    "augment__views": 1,
    "fine_tune__epochs": 2,
    "export__model": "fine_tuned",
    "gate__min_accuracy": 0.5,
    "gate__min_balanced_accuracy": 0.5,
    "gate__max_expected_calibration_error": 0.9,
    "gate__max_drop": 0.5,
}


def ran(output: str) -> list[str]:
    """Return the stages that dvc says it ran, in order."""
    return re.findall(r"^Running stage '(\w+)'", output, re.MULTILINE)


def is_the_users(name: str) -> bool:
    """Return whether a file of the repository is the user's: settings, data, results, or where DVC stores them."""
    return name in ("params.yaml", "dvc.lock") or (
        name.startswith(tuple(f"{folder}/" for folder in OUTPUTS)) and not name.endswith(".gitignore")
    )


@functools.cache
def font_cache() -> str:
    """Return the folder of matplotlib's list of fonts, which is made if there is none."""
    import matplotlib.font_manager

    return matplotlib.get_cachedir()


class Clone:
    """A clone `repository` in a folder of its own, with the images beside it in `photos`.

    Commands run there with the tests' own Python first on the path, no network, and nothing of the caller's git, dvc or
    pytest in the environment.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.path = folder / "repository"
        self.photos = folder / "photos"

    @classmethod
    def of_working_files(cls, folder: Path) -> "Clone":
        """Return a new repository with a commit of what git has, or would add, in the one under test.

        Settings are the tests' own, and there are no data and no results: those of the one under test are the user's.
        """
        clone = cls(folder)
        listing = ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        for name in subprocess.run(listing, capture_output=True, check=True).stdout.decode().split("\0")[:-1]:
            if (ROOT / name).exists() and not is_the_users(name):
                (clone.path / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, clone.path / name)
        shutil.copy(own_parameters.FILE, clone.path / "params.yaml")
        clone.git("init", "--quiet")
        clone.commit("The files under test")
        return clone

    def copied(self, folder: Path) -> "Clone":
        """Return a copy with all outputs and DVC's cache, and with images of its own."""
        shutil.copytree(self.folder, folder, symlinks=True, dirs_exist_ok=True)
        clone = Clone(folder)
        # The link to a local data set is relative: it leads to the copy's own images.
        assert clone.source.resolve() == clone.photos.resolve()
        return clone

    def cloned(self, folder: Path) -> "Clone":
        """Return a fresh `git clone` without any DVC cache, and with images of its own."""
        shutil.copytree(self.photos, folder / "photos")
        clone = Clone(folder)
        clone.run("git", "clone", "--quiet", self.path, clone.path, within=folder)
        return clone

    @property
    def source(self) -> Path:
        return self.path / "data/source"

    def environment(self) -> dict[str, str]:
        foreign = ("GIT_", "DVC_", "PYTHON", "PYTEST_", "GRAFT_", "MAKE", "MFLAGS")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        home = self.folder / "home"
        home.mkdir(parents=True, exist_ok=True)
        (home / ".gitconfig").write_text(GIT_CONFIG)
        return kept | {
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(home),
            # The list of fonts, which takes seconds to make, is that of the running tests.
            "MPLCONFIGDIR": font_cache(),
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(self.folder / "site"),
            "DVC_GLOBAL_CONFIG_DIR": str(home),
            "GIT_CONFIG_NOSYSTEM": "1",
            "http_proxy": NO_NETWORK,
            "https_proxy": NO_NETWORK,
            "no_proxy": "127.0.0.1,localhost",
        }

    def attempt(self, *command: object, within: Path | None = None, **variables: str) -> subprocess.CompletedProcess:
        """Run a command in the clone, whatever its exit status."""
        return subprocess.run(
            [str(part) for part in command],
            cwd=within or self.path,
            env=self.environment() | variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )

    def run(self, *command: object, **options: object) -> str:
        """Run a command in the clone, which must succeed, and return what it prints."""
        result = self.attempt(*command, **options)
        assert result.returncode == 0, f"{command}: status {result.returncode}\n{result.stdout}\n{result.stderr}"
        return result.stdout

    def git(self, *arguments: object) -> str:
        return self.run("git", *arguments)

    def dvc(self, *arguments: object) -> str:
        return self.run("dvc", *arguments)

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def set(self, **changes: object) -> None:
        """Change params.yaml: `section__key=value` inside a section."""
        path = self.path / "params.yaml"
        values = own_parameters.changed(yaml.safe_load(path.read_text(encoding="utf-8")), **changes)
        path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")

    def keep_stages(self, *names: str) -> None:
        """Leave these stages alone in dvc.yaml: the others would take most of the time."""
        path = self.path / "dvc.yaml"
        stages = yaml.safe_load(path.read_text(encoding="utf-8"))["stages"]
        shorter = {"stages": {name: stages[name] for name in names}}
        path.write_text(yaml.safe_dump(shorter, sort_keys=False), encoding="utf-8")

    def outputs(self) -> dict[str, str]:
        """Return the MD5 of every file under data/, models/ and metrics/; of links, where they lead."""
        found = {}
        for folder in OUTPUTS:
            for path in sorted((self.path / folder).rglob("*")):
                if path.is_symlink():
                    found[path.relative_to(self.path).as_posix()] = os.readlink(path)
                elif path.is_file():
                    found[path.relative_to(self.path).as_posix()] = hashlib.md5(path.read_bytes()).hexdigest()
        return found


def experiments(clone: Clone) -> dict[str, str]:
    """Return the git reference of each experiment by its name."""
    references = clone.git("for-each-ref", "--format=%(refname)", "refs/exps").split()
    return {reference.rsplit("/", 1)[-1]: reference for reference in references}


def wait_for(clone: Clone, names: set[str]) -> None:
    """Wait until experiments of all these names have a result."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not names <= experiments(clone).keys():
        assert time.monotonic() < deadline, clone.dvc("queue", "status")
        time.sleep(1)


def make_environment(clone: Clone) -> None:
    """Give a clone the environment of the running tests: `make` then has nothing to install."""
    environment = clone.path / ".venv"
    environment.mkdir()
    for entry in Path(sys.prefix).iterdir():
        (environment / entry.name).symlink_to(entry)
    (environment / "installed").unlink(missing_ok=True)
    (environment / "installed").touch()
