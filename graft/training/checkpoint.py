"""The state of training after an epoch, in a file: a run that was killed goes on from there, with the same result."""

import hashlib
import json
import time
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path

import keras
import numpy as np

import graft
from graft.core import paths
from graft.core.errors import GraftError
from graft.core.files import remove_leftovers, replacing, sha256_of
from graft.core.threads import usable_cpus
from graft.core.versions import installed_versions
from graft.training.devices import losing_none, this_process

# What Keras's callbacks count, and SwapEMAWeights knows, from one epoch to the next.
COUNTERS = ("best", "best_epoch", "cooldown_counter", "stopped_epoch", "wait", "_ema_weights_in_model")
# A checkpoint that nobody has used for so long is removed: its settings will not come back.
KEPT_SECONDS = 30 * 24 * 3600


def hashes(settings: Mapping[str, object], files: Iterable[Path]) -> dict[str, str]:
    """Return a hash, 64 hexadecimal digits, for each thing that training depends on, by its name.

    Parameters
    ----------
    settings : JSON values by name.
    files : that training reads; their content counts.

    Besides these count: the code of this package, and the versions of the packages that compute.
    """
    package = Path(graft.__file__).parent
    code = {path.relative_to(package).as_posix(): sha256_of(path) for path in sorted(package.rglob("*.py"))}
    parts = {"settings": settings, "code": code, "versions": installed_versions()}
    return {name: _hash(part) for name, part in parts.items()} | {path.as_posix(): sha256_of(path) for path in files}


def identity(parts: Mapping[str, str]) -> str:
    """Return a name for all that the bits of a result depend on, 64 hexadecimal digits.

    Parameters
    ----------
    parts : from `hashes`. Besides these, the number of threads counts.
    """
    return _hash({"parts": parts, "threads": usable_cpus()})


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@losing_none()
def checkpoint_of(settings: Mapping[str, object], files: Iterable[Path]) -> "Checkpoint":
    """Return the checkpoint of a run; all workers of a cluster must train the same.

    Parameters
    ----------
    settings : JSON values by name; all that training depends on.
    files : that training reads.

    Raises
    ------
    GraftError
        If another worker has other settings, files, code or versions than the chief, or is lost.
    """
    parts = hashes(settings, files)
    if found := this_process().differences(parts):
        raise GraftError(
            f"TF_CONFIG: {found}; give each worker the same commit and data: `git pull`, `dvc pull`, `git status`"
        )
    return Checkpoint(paths.checkpoint(identity(parts)))


class Checkpoint:
    """A file that is written after each epoch.

    Parameters
    ----------
    path : of the file, .npz. Its name must stand for all that training depends on (`identity`), for nothing is compared
        when it is read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def save(
        self,
        variables: Sequence[keras.Variable],
        callbacks: Sequence[keras.callbacks.Callback],
        history: Sequence[Mapping[str, float]],
    ) -> None:
        """Write the values of variables, the counters of callbacks, and the rows of the epochs so far.

        Of a cluster, only the chief does. If the file cannot be written, print why: training does not depend on it.
        """
        if not this_process().chief:
            return
        counters = [
            {name: vars(callback)[name] for name in COUNTERS if name in vars(callback)} for callback in callbacks
        ]
        stopped = any(callback.model.stop_training for callback in callbacks)
        text = json.dumps({"history": list(history), "counters": counters, "stopped": stopped})
        arrays = {f"variable-{number}": variable.numpy() for number, variable in enumerate(variables)}
        for number, callback in enumerate(callbacks):
            for place, weight in enumerate(getattr(callback, "best_weights", None) or ()):
                arrays[f"best-{number}-{place}"] = weight
        try:
            with replacing(self.path) as temporary:
                np.savez(temporary, text=np.array(text), **arrays)
        except (GraftError, OSError) as error:
            print(f"no checkpoint: {error}", flush=True)

    def restore(
        self, variables: Sequence[keras.Variable], callbacks: Sequence[keras.callbacks.Callback]
    ) -> list[dict[str, float]]:
        """Set variables and callbacks to what was saved; return the rows of the epochs so far, none without a file.

        Of a cluster, all workers take what the chief has saved.
        """
        content = this_process().from_chief(self._content())
        if content is None:
            return []
        try:
            with np.load(BytesIO(content), allow_pickle=False) as file:
                arrays = dict(file)
            saved = json.loads(str(arrays.pop("text")))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            self._print_damaged(error)
            return []
        for number, variable in enumerate(variables):
            variable.assign(arrays[f"variable-{number}"])
        for number, (callback, counters) in enumerate(zip(callbacks, saved["counters"], strict=True)):
            vars(callback).update(counters)
            count = sum(name.startswith(f"best-{number}-") for name in arrays)
            if count:
                callback.best_weights = [arrays[f"best-{number}-{place}"] for place in range(count)]
            callback.model.stop_training = saved["stopped"]
        print(f"training goes on after epoch {len(saved['history'])}, where an earlier run ended", flush=True)
        return saved["history"]

    def _content(self) -> bytes | None:
        if not this_process().chief:
            return None
        self._remove_old()
        try:
            return self.path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self._print_damaged(error)
            return None

    def _print_damaged(self, error: Exception) -> None:
        print(f"{self.path}: damaged ({error}); training starts from the first epoch", flush=True)

    def delete(self) -> None:
        """Remove the file, if there is one."""
        self.path.unlink(missing_ok=True)

    def _remove_old(self) -> None:
        remove_leftovers(self.path.parent)
        for path in self.path.parent.glob("*.npz"):
            try:
                if time.time() - path.stat().st_mtime > KEPT_SECONDS:
                    path.unlink()
            except FileNotFoundError:
                # Another process has removed it.
                continue
