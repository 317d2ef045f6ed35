"""The command `graft store`: what it prints, and what it removes."""

import numpy as np
import pytest

from graft.__main__ import command
from graft.activations.store import Store, namespace_of
from graft.core.errors import GraftError

NETWORK = namespace_of({"backbone": "one", "size": "224"})
MEGABYTE = 10**6


def fill(folder, records):
    """Write records of 100 KB to a store and return its one database file."""
    with Store(folder) as store:
        store.describe(NETWORK, {"backbone": "one", "size": "224"})
        store.put_many(NETWORK, {f"{number:064x}": np.full(100_000, number, np.uint8) for number in range(records)})
    return folder / NETWORK / "records.sqlite"


@pytest.fixture
def run_store(tmp_path, capsys):
    """Return a function that runs the command on the store in tmp_path and returns the lines it prints."""

    def run(*arguments):
        assert not command(["store", *arguments, "--folder", str(tmp_path)])
        return capsys.readouterr().out.splitlines()

    return run


def test_size_prints_a_table_of_namespaces(tmp_path, run_store):
    fill(tmp_path, 3)
    lines = run_store("size", "--limit", "5GB")
    assert lines[0].split() == ["namespace", "records", "size", "last", "used", "holds"]
    assert lines[1].split()[:4] == [NETWORK[:12], "3", "344.1", "KB"]
    assert lines[1].endswith("backbone one, size 224")
    assert lines[2].endswith(f"on disk in {tmp_path}, limit 5.0 GB")


def test_prune_brings_the_store_within_its_limit_and_says_how_much_it_removed(tmp_path, run_store):
    fill(tmp_path, 30)
    lines = run_store("prune", "--limit", "1MB")
    assert lines[0].endswith("MB removed")
    assert Store(tmp_path).size() <= MEGABYTE


def test_verify_counts_whole_and_broken_records(tmp_path, run_store):
    file = fill(tmp_path, 4)
    content = bytearray(file.read_bytes())
    content[content.find(bytes([2]) * 1000) + 500] ^= 1
    file.write_bytes(content)
    assert run_store("verify")[0] == "3 records are whole, 1 broken record and 0 damaged files deleted"
    assert run_store("verify")[0] == "3 records are whole, 0 broken records and 0 damaged files deleted"


def test_a_wrong_limit_is_refused(run_store):
    with pytest.raises(GraftError, match=r"^--limit: 'much' is not a size; write for example 500MB or 5GB$"):
        run_store("size", "--limit", "much")
