"""Several devices train what one does: the same order, pairs and masks, one sum of gradients, one set of weights."""

import json
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
import training_on_devices
from test_training_loop import ENVIRONMENT, ROOT
from training_on_devices import AVERAGED, RUNS, trained

SECONDS = 300


@pytest.fixture(scope="module")
def on_one_device():
    return {name: trained(name) for name in RUNS}


def started(*arguments, **variables):
    """Start this file as a program; its output is in a pipe."""
    return subprocess.Popen(
        [sys.executable, training_on_devices.__file__, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=ENVIRONMENT | variables,
    )


def ended(process):
    """Return status, output and errors of a program, which must end."""
    try:
        output, errors = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
    return process.returncode, output, errors


def assert_same_training(run, history, weights):
    expected, model = run
    assert [row.keys() for row in history] == [row.keys() for row in expected]
    for row, expected_row in zip(history, expected, strict=True):
        assert row == pytest.approx(expected_row, abs=1e-4)
    for found, weight in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_allclose(found, weight, atol=1e-4)


def saved(path):
    with np.load(path) as file:
        return [file[name] for name in file.files]


# A batch of 8: equal shares, shares of 3, 3 and 2, and one image each.
@pytest.mark.parametrize("count", [2, 3, pytest.param(8, marks=pytest.mark.slow)])
def test_devices_of_one_machine_train_what_one_device_does(count, on_one_device, tmp_path):
    status, output, errors = ended(started("local", count, tmp_path))
    assert status == 0, errors
    names = ", ".join(f"/device:CPU:{number}" for number in range(count))
    announced, *lines = output.splitlines()
    assert announced == f"{count} devices share each batch: {names}"
    assert errors == ""
    assert len(lines) == len(RUNS)
    for (name, run), line in zip(on_one_device.items(), lines, strict=True):
        assert_same_training(run, json.loads(line), saved(tmp_path / f"{name}.npz"))


def test_more_devices_than_images_in_a_batch_are_refused(tmp_path):
    status, _, errors = ended(started("local", 9, tmp_path))
    assert status == 1
    assert errors == (
        "error: fine_tune.batch_size: 8 images cannot be shared by 9 devices; set a larger number, or let TensorFlow "
        "see fewer GPUs (CUDA_VISIBLE_DEVICES)\n"
    )


def free_addresses(count=2):
    """Return addresses of this machine that nobody listens at."""
    with_ports = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{server.getsockname()[1]}" for server in with_ports]
    for server in with_ports:
        server.close()
    return addresses


def worker(index, addresses, *arguments):
    config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
    return started("worker", *arguments, TF_CONFIG=json.dumps(config))


def result_of(process):
    status, output, errors = ended(process)
    assert status == 0, errors
    assert errors == ""
    return output.splitlines()


@pytest.mark.slow
def test_two_workers_train_what_one_device_does_and_end_with_the_same_weights(on_one_device, tmp_path):
    addresses = free_addresses()
    folders = [tmp_path / "0", tmp_path / "1"]
    workers = [worker(index, addresses, folder) for index, folder in enumerate(folders)]
    outputs = [result_of(process) for process in workers]
    for index, lines in enumerate(outputs):
        assert lines[:2] == [
            f"worker {index} of {', '.join(addresses)}: waiting for the others",
            "2 devices of 2 workers share each batch",
        ]
    (*_, history, chief), (*_, other_history, other) = outputs
    assert (history, chief) == (other_history, other)
    assert_same_training(on_one_device[AVERAGED], json.loads(history), saved(folders[0] / "weights.npz"))
    # Only the chief writes a checkpoint.
    assert (folders[0] / "state.npz").exists()
    assert not (folders[1] / "state.npz").exists()


@pytest.mark.slow
def test_workers_with_unequal_lists_end_in_one_line_after_the_time_to_wait():
    first, second, other = free_addresses(3)
    lists = [f"{first},{second}", f"{other},{second}"]
    processes = [started("join", addresses, index, 30) for index, addresses in enumerate(lists)]
    for process, addresses in zip(processes, lists, strict=True):
        status, _, errors = ended(process)
        assert status == -signal.SIGKILL
        assert errors == (
            f"error: TF_CONFIG: of {addresses.replace(',', ', ')} not all have joined after 30 seconds; start the "
            "stage on each, with its own index and the same list\n"
        )


def both(folders, lost=0, kill_after=0):
    """Start two workers; one of them kills itself after an epoch of that number."""
    addresses = free_addresses()
    return [
        worker(index, addresses, folder, kill_after if index == lost else 0) for index, folder in enumerate(folders)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_where_a_worker_is_killed_the_other_ends_and_both_go_on_to_the_same_weights(lost, tmp_path):
    folders = [tmp_path / "0", tmp_path / "1"]
    processes = both(folders, lost, kill_after=4)
    (status, *_), (other_status, _, errors) = (ended(processes[index]) for index in (lost, 1 - lost))
    assert (status, other_status) == (-signal.SIGKILL, 1)
    (line,) = errors.splitlines()
    assert line.startswith("error: TF_CONFIG: a worker of 127.0.0.1:")
    assert line.endswith("; see why, then start all of them again")
    resumed = [result_of(process) for process in both(folders)]
    whole = [result_of(process) for process in both([tmp_path / "2", tmp_path / "3"])]
    assert all(lines[-3].startswith("training goes on after epoch ") for lines in resumed)
    assert [lines[-2:] for lines in resumed] == [lines[-2:] for lines in whole]
