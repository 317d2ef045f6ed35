"""A program that trains as one of several devices or workers, for the tests of these: see `main`."""

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
from neutral_settings import fine_tune_settings

from graft.core.errors import run
from graft.core.quiet import importing
from graft.training.tf_config import Cluster

with importing():
    import tensorflow as tf
    from test_training_loop import contrary_examples, digest, examples, network

    from graft.training import loop
    from graft.training.checkpoint import Checkpoint
    from graft.training.devices import joined, this_process

# By name: the settings, and what the network is validated on.
RUNS = {
    "averaged weights, dropout, mixup": (
        {"ema": 0.25, "dropout": 0.3, "mixup": 0.2, "weight_decay": 0.01, "warmup": 0.3, "label_smoothing": 0.1},
        examples(seed=1),
    ),
    "a rate for each block on a plateau": (
        {"layer_decay": 0.7, "schedule": "plateau", "plateau_patience": 1, "monitor": "val_loss"},
        contrary_examples(),
    ),
    "sgd without validation": ({"optimizer": "sgd", "schedule": "cosine", "momentum": 0.9}, None),
}
AVERAGED = next(iter(RUNS))


def trained(name, **options):
    """Train a network with the settings of a run; return its history and its weights."""
    settings, validation = RUNS[name]
    model = network()
    data = examples()
    history = loop.train(model, data, validation, fine_tune_settings(**{"epochs": 6} | settings), 0.02, 3, **options)
    return history, model


def main(mode, *arguments):
    """Train, print the history and write the weights.

    Parameters
    ----------
    mode : "local", for devices of this process; "worker", for the cluster of TF_CONFIG; "join", to join a cluster only.
    arguments : for "local" the number of devices and a folder; all runs are trained. For "worker" a folder, and an
        epoch after which the process kills itself, or 0; it prints the hash of the weights too. For "join" the
        addresses, with commas between them, the index, and the seconds to wait.
    """

    def save(model, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, *model.get_weights())

    if mode == "local":
        count, folder = int(arguments[0]), Path(arguments[1])
        devices = [tf.config.LogicalDeviceConfiguration()] * count
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
        for name in RUNS:
            history, model = trained(name)
            print(json.dumps(history), flush=True)
            save(model, folder / f"{name}.npz")
        return
    if mode == "join":
        addresses, index, seconds = arguments
        joined(Cluster(tuple(addresses.split(",")), int(index)), float(seconds))
        return
    folder, kill_after = Path(arguments[0]), int(arguments[1]) if len(arguments) > 1 else 0
    this_process()

    def end(row):
        if row["epoch"] == kill_after:
            os.kill(os.getpid(), signal.SIGKILL)

    history, model = trained(AVERAGED, on_epoch=end, checkpoint=Checkpoint(folder / "state.npz"))
    save(model, folder / "weights.npz")
    print(json.dumps(history), digest(model), sep="\n", flush=True)


if __name__ == "__main__":
    run(lambda: main(*sys.argv[1:]))
