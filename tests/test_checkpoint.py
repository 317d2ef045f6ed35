"""The checkpoint of fine-tuning: what is trained in two runs is what is trained in one, to the last bit."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from neutral_settings import fine_tune_settings
from test_training_loop import ENVIRONMENT, ROOT, contrary_examples, digest, examples, network

from graft.training import loop
from graft.training.batches import Examples
from graft.training.checkpoint import KEPT_SECONDS, Checkpoint, hashes, identity

# By name: the settings, and what the network is validated on.
RUNS = {
    "averaged weights, dropout, mixup": (
        {"ema": 0.25, "dropout": 0.3, "mixup": 0.2, "weight_decay": 0.01, "warmup": 0.3, "label_smoothing": 0.1},
        examples(seed=1),
    ),
    "sgd along a cosine": ({"optimizer": "sgd", "schedule": "cosine"}, None),
    "rmsprop on a plateau": (
        {"optimizer": "rmsprop", "schedule": "plateau", "plateau_patience": 2},
        contrary_examples(),
    ),
    "the best epoch, which is the first": ({"monitor": "val_loss"}, contrary_examples()),
    "early stopping": ({"monitor": "val_loss", "patience": 3, "ema": 0.5}, contrary_examples()),
    "the most exact epoch": ({"monitor": "val_accuracy", "optimizer": "adam"}, examples(seed=1)),
}


class Killed(Exception):  # noqa: N818 - it stands for an event
    """Stands for a kill."""


def stop():
    raise Killed


def train(model, validation, checkpoint=None, kill_after=None, kill=stop, **settings):
    """Train six epochs, but for a kill after one; return the history and the epochs whose examples were read."""
    data, epochs_read = examples(), set()

    def read(rows, epoch):
        epochs_read.add(epoch)
        return data.read(rows, epoch)

    def end(row):
        if row["epoch"] == kill_after:
            kill()

    settings = fine_tune_settings(**{"epochs": 6} | settings)
    options = {"lr": 0.02, "seed": 3, "on_epoch": end, "checkpoint": checkpoint}
    history = loop.train(model, Examples(read, data.labels), validation, settings, **options)
    return history, epochs_read


# These have what the state is made of: averaged weights and random numbers, and the best epoch so far.
QUICK = ("averaged weights, dropout, mixup", "the best epoch, which is the first", "early stopping")


@pytest.mark.parametrize(
    ("name", "kill_after"),
    [
        pytest.param(name, kill_after, marks=[pytest.mark.slow] * (name not in QUICK))
        for name, kill_after in zip(RUNS, (3, 2, 3, 1, 2, 4), strict=True)
    ],
)
def test_a_run_that_was_killed_goes_on_to_the_same_weights_and_figures(name, kill_after, tmp_path):
    settings, validation = RUNS[name]
    whole, checkpoint = network(), Checkpoint(tmp_path / "state.npz")
    expected, _ = train(whole, validation, **settings)
    with pytest.raises(Killed):
        train(network(), validation, checkpoint, kill_after, **settings)
    resumed = network(seed=9)
    resumed.set_weights(network().get_weights())
    history, epochs_read = train(resumed, validation, checkpoint, **settings)
    assert history == expected
    assert digest(resumed) == digest(whole)
    assert epochs_read == set(range(kill_after, len(expected)))


def test_after_the_last_epoch_nothing_is_trained_again(tmp_path):
    settings, validation = RUNS["early stopping"]
    checkpoint, first, second = Checkpoint(tmp_path / "state.npz"), network(), network()
    history, _ = train(first, validation, checkpoint, **settings)
    assert len(history) < 6
    assert train(second, validation, checkpoint, **settings) == (history, set())
    assert digest(second) == digest(first)


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    """What a run of six epochs leaves: its checkpoint's bytes, its history, and the hash of its weights."""
    checkpoint, model = Checkpoint(tmp_path_factory.mktemp("finished") / "state.npz"), network()
    history, _ = train(model, None, checkpoint)
    return checkpoint.path.read_bytes(), history, digest(model)


def test_each_earlier_row_is_reported_too(tmp_path, finished_run):
    content, history, _ = finished_run
    checkpoint = Checkpoint(tmp_path / "state.npz")
    checkpoint.path.write_bytes(content)
    rows = []
    settings = fine_tune_settings(epochs=6)
    loop.train(network(), examples(), None, settings, 0.02, 3, on_epoch=rows.append, checkpoint=checkpoint)
    assert rows == history


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_damaged_checkpoint_is_one_line_and_training_starts_anew(share, tmp_path, finished_run, capsys):
    content, history, expected = finished_run
    checkpoint = Checkpoint(tmp_path / "state.npz")
    checkpoint.path.write_bytes(content[: int(len(content) * share)])
    model = network()
    assert train(model, None, checkpoint) == (history, set(range(6)))
    assert digest(model) == expected
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{checkpoint.path}: damaged (")
    assert line.endswith("); training starts from the first epoch")


def test_where_no_checkpoint_can_be_written_training_goes_on_and_says_so(tmp_path, capsys):
    (tmp_path / "file").touch()
    history, _ = train(network(), None, Checkpoint(tmp_path / "file/state.npz"), epochs=1)
    assert len(history) == 1
    assert capsys.readouterr().out.startswith("no checkpoint: ")


def test_a_checkpoint_is_deleted_on_demand_and_one_of_another_run_after_a_month(tmp_path):
    checkpoint, old, new = (Checkpoint(tmp_path / f"{name}.npz") for name in ("this", "old", "new"))
    for other in (old, new):
        other.save([], [], [])
    os.utime(old.path, (time.time() - KEPT_SECONDS - 60,) * 2)
    train(network(), None, checkpoint, epochs=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.npz", "this.npz"]
    checkpoint.delete()
    checkpoint.delete()
    assert [path.name for path in tmp_path.iterdir()] == ["new.npz"]


def test_the_identity_depends_on_settings_and_on_the_content_of_files(tmp_path):
    file = tmp_path / "head.npz"
    file.write_bytes(b"a")

    def found(lr):
        return identity(hashes({"lr": lr}, [file]))

    first = found(0.1)
    assert found(0.1) == first
    assert found(0.2) != first
    file.write_bytes(b"b")
    assert found(0.1) != first


def test_the_hashes_name_what_differs(tmp_path):
    file = tmp_path / "backbone.weights.h5"
    file.write_bytes(b"a")
    first = hashes({"lr": 0.1}, [file])
    file.write_bytes(b"b")
    second = hashes({"lr": 0.2}, [file])
    assert first.keys() == second.keys() == {"settings", "code", "versions", str(file)}
    assert {name for name in first if first[name] != second[name]} == {"settings", str(file)}


def test_a_process_that_is_killed_by_the_system_goes_on_in_another_process_to_the_same_bits(tmp_path, capsys):
    settings, validation = RUNS["averaged weights, dropout, mixup"]
    whole, resumed = network(), network()
    expected, _ = train(whole, validation, **settings)
    command = [sys.executable, __file__, tmp_path / "state.npz", "4"]
    killed = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=ENVIRONMENT, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    history, epochs_read = train(resumed, validation, Checkpoint(tmp_path / "state.npz"), **settings)
    assert capsys.readouterr().out == "training goes on after epoch 4, where an earlier run ended\n"
    assert (history, digest(resumed), epochs_read) == (expected, digest(whole), {4, 5})


def main(path, kill_after):
    """Train with the checkpoint at `path`; after the epoch of that number the process kills itself."""
    settings, validation = RUNS["averaged weights, dropout, mixup"]
    train(network(), validation, Checkpoint(path), kill_after, lambda: os.kill(os.getpid(), signal.SIGKILL), **settings)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
