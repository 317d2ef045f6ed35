"""The store of activations: what it gives back, what damage and full disks do to it, and what it removes."""

import os
import random
import re
import resource
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graft.activations import store as store_module
from graft.activations.store import Store, Verdict, default_folder, namespace_of
from graft.core import mounts
from graft.core.errors import GraftError

ROOT = Path(__file__).resolve().parents[1]
NETWORK = namespace_of({"backbone": "one", "size": "224"})
OTHER_NETWORK = namespace_of({"backbone": "two", "size": "224"})
MEGABYTE = 10**6
IMPORTS = "import sys, numpy as np\nfrom pathlib import Path\nfrom graft.activations.store import Store\n"
ROWS = {f"{number:064x}": np.full((4, 5), number, np.float32) for number in range(20)}


def filled(folder, rows=None):
    """Write rows to a store and return its one database file."""
    with Store(folder) as store:
        store.put_many(NETWORK, ROWS if rows is None else rows)
    return folder / NETWORK / "records.sqlite"


def block(number, size=100_000):
    return np.full(size, number % 251, np.uint8)


def blocks(numbers):
    return {f"{number:064x}": block(number) for number in numbers}


def assert_right(found, expected):
    for key, array in found.items():
        np.testing.assert_array_equal(array, expected[key], strict=True)


def python(code, *arguments, **options):
    """Start a Python process that has imported the store."""
    command = [sys.executable, "-c", IMPORTS + textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


# What goes in comes out ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.float16).reshape(2, 3, 4),
        np.array([[1.5, -0.0], [np.inf, np.nan]], np.float32),
        np.arange(6, dtype=np.int64).reshape(2, 3).T,
        np.array([True, False]),
        np.array(3, np.uint8),
        np.zeros((0, 7), np.float64),
        np.array([1, 2], ">i4"),
        np.array([1 + 2j], np.complex64),
    ],
    ids=lambda array: f"{array.dtype.str}{array.shape}",
)
def test_an_array_comes_back_with_its_dtype_shape_and_bits(tmp_path, array):
    with Store(tmp_path) as store:
        store.put_many(NETWORK, {"key": array})
    with Store(tmp_path) as store:
        found = store.get_many(NETWORK, ["key"])["key"]
    assert (found.dtype, found.shape, found.tobytes()) == (array.dtype, array.shape, array.tobytes())


def test_only_what_is_present_comes_back_under_the_key_it_was_asked_by(tmp_path):
    with Store(tmp_path) as store:
        store.put_many(NETWORK, {"text": np.ones(2), b"\x00\xff": np.zeros(3)})
        assert store.contains_many(NETWORK, ["text", b"\x00\xff", "other"]) == {"text", b"\x00\xff"}
        found = store.get_many(NETWORK, ["other", b"\x00\xff", "text"])
        assert_right(found, {"text": np.ones(2), b"\x00\xff": np.zeros(3)})
        assert len(found) == 2


def test_more_keys_than_one_statement_takes_are_found(tmp_path):
    rows = {f"{number:064x}": np.array(number) for number in range(2500)}
    with Store(tmp_path) as store:
        store.put_many(NETWORK, rows)
        assert store.contains_many(NETWORK, rows) == rows.keys()
        found = store.get_many(NETWORK, rows)
    assert len(found) == 2500
    assert_right(found, rows)


def test_namespaces_do_not_mix(tmp_path):
    with Store(tmp_path) as store:
        store.put_many(NETWORK, {"key": np.ones(2)})
        assert store.get_many(OTHER_NETWORK, ["key"]) == {}
        assert store.contains_many(OTHER_NETWORK, ["key"]) == set()


def test_a_key_keeps_its_first_array(tmp_path):
    with Store(tmp_path) as store:
        store.put_many(NETWORK, {"a": np.ones(2)})
        store.put_many(NETWORK, {"a": np.zeros(2), "b": np.zeros(2)})
        assert_right(store.get_many(NETWORK, "ab"), {"a": np.ones(2), "b": np.zeros(2)})
        assert [contents.records for contents in store.contents()] == [2]


def test_arrays_are_read_only_and_lie_aligned(tmp_path):
    with Store(tmp_path) as store:
        store.put_many(NETWORK, {"key": np.ones(7, np.float64)})
        flags = store.get_many(NETWORK, ["key"])["key"].flags
    assert (flags.writeable, flags.aligned, flags.c_contiguous) == (False, True, True)


def test_an_array_of_objects_is_refused_and_nothing_of_its_batch_is_stored(tmp_path):
    with Store(tmp_path) as store:
        with pytest.raises(TypeError, match="dtype object"):
            store.put_many(NETWORK, {"good": np.ones(2), "bad": np.array([{}])})
        assert store.contains_many(NETWORK, ["good", "bad"]) == set()


def test_looking_into_a_store_that_does_not_exist_creates_nothing(tmp_path):
    with Store(tmp_path / "absent") as store:
        assert store.get_many(NETWORK, ["key"]) == {}
        assert store.contains_many(NETWORK, ["key"]) == set()
        assert (store.size(), store.contents(), store.prune(0)) == (0, [], 0)
    assert not (tmp_path / "absent").exists()


def test_a_namespace_follows_from_names_and_values_and_not_from_their_order():
    assert namespace_of({"a": "1", "b": "2"}) == namespace_of({"b": "2", "a": "1"})
    # printf '{"a": "1"}' | sha256sum
    assert namespace_of({"a": "1"}) == "452647e07c48d5e6dbdad452d4f4715de98ad66f3397952966e13ffa37b3523f"
    names = [{"a": "1"}, {"a": "2"}, {"b": "1"}, {"a": "1", "b": "2"}, {"a": '1","b":"2'}, {}]
    assert len({namespace_of(fields) for fields in names}) == len(names)


def test_the_folder_is_in_the_repository_unless_set(monkeypatch):
    monkeypatch.delenv("GRAFT_STORE", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    assert default_folder() == Path(".cache/activations")
    # DVC names the repository itself in its temporary clones.
    monkeypatch.setenv("DVC_ROOT", "/main")
    assert default_folder() == Path("/main/.cache/activations")
    monkeypatch.setenv("GRAFT_STORE", "/elsewhere")
    assert default_folder() == Path("/elsewhere")


def test_the_store_does_not_import_tensorflow():
    process = python("print({'tensorflow', 'keras'} & set(sys.modules))")
    assert process.communicate() == ("set()\n", "")


# Several at once ----------------------------------------------------------------------------------

WRITER = """
    with Store(sys.argv[1]) as store:
        for start in range(0, 400, 10):
            rows = {str(n): np.full(500, n, np.float32) for n in range(start, start + 10)}
            store.put_many(sys.argv[2], rows)
            assert len(store.get_many(sys.argv[2], rows)) == 10
    """


def test_processes_write_and_read_the_same_keys_at_once(tmp_path):
    writers = [python(WRITER, tmp_path, NETWORK) for _ in range(3)]
    assert [writer.communicate()[1] for writer in writers] == ["", "", ""]
    expected = {str(number): np.full(500, number, np.float32) for number in range(400)}
    with Store(tmp_path) as store:
        found = store.get_many(NETWORK, expected)
        assert store.contents()[0].records == 400
    assert found.keys() == expected.keys()
    assert_right(found, expected)


def test_threads_share_one_store(tmp_path):
    def write_and_read(number):
        rows = {f"{number}-{index}": np.full(50, number) for index in range(20)}
        store.put_many(NETWORK, rows)
        return all((array == number).all() for array in store.get_many(NETWORK, rows).values())

    with Store(tmp_path) as store, ThreadPoolExecutor(8) as pool:
        assert all(pool.map(write_and_read, range(16)))
        assert store.contents()[0].records == 320


def test_a_killed_writer_leaves_every_finished_batch_and_nothing_broken(tmp_path):
    code = """
        with Store(sys.argv[1]) as store:
            for start in range(int(sys.argv[3]), 10**9, 4):
                numbers = range(start, start + 4)
                store.put_many(sys.argv[2], {str(n): np.full(9000, n, np.float32) for n in numbers})
                print(start, flush=True)
        """
    chance = random.Random(0)
    finished = []
    for number in range(4):
        writer = python(code, tmp_path, NETWORK, number * 10**6)
        lines = [writer.stdout.readline() for _ in range(chance.randrange(1, 40))]
        writer.kill()
        lines += writer.communicate()[0].splitlines()
        finished += [int(line) + offset for line in lines if line.strip() for offset in range(4)]
        with Store(tmp_path) as store:
            found = store.get_many(NETWORK, [str(key) for key in finished])
            assert len(found) == len(finished)
            assert all((array == np.float32(int(key))).all() for key, array in found.items())
            verdict = store.verify()
            assert (verdict.broken, verdict.damaged_files) == (0, 0)


def test_a_process_that_is_killed_while_it_removes_namespaces_leaves_nothing_broken(tmp_path):
    code = """
        for number in range(10**9):
            with Store(sys.argv[1], 10**6) as store:
                store.put_many(f"{sys.argv[2]}{number}", {str(n): np.full(9000, n, np.float32) for n in range(10)})
            print(number, flush=True)
        """
    chance = random.Random(0)
    for letter in "abcd":
        writer = python(code, tmp_path, letter)
        for _ in range(chance.randrange(5, 20)):
            writer.stdout.readline()
        time.sleep(chance.random() / 50)
        writer.kill()
        writer.communicate()
        with Store(tmp_path, MEGABYTE) as store:
            verdict = store.verify()
            assert (verdict.broken, verdict.damaged_files) == (0, 0)
            store.put_many(NETWORK, ROWS)
            store.prune()
            assert store.size() <= MEGABYTE


HOLDER = """
    with Store(sys.argv[1]) as store, store.computing(sys.argv[2]):
        print("inside", flush=True)
        sys.stdin.readline()
        store.put_many(sys.argv[2], {"key": np.ones(2)})
    """


def test_one_process_at_a_time_computes_for_a_namespace_and_the_next_finds_its_results(tmp_path, capfd):
    with python(HOLDER, tmp_path, NETWORK, stdin=subprocess.PIPE) as other, Store(tmp_path) as store:
        assert other.stdout.readline() == "inside\n"
        with store.computing(OTHER_NETWORK):
            # Another network: nobody waits.
            assert capfd.readouterr().err == ""
        threading.Timer(0.5, lambda: print(file=other.stdin, flush=True)).start()
        with store.computing(NETWORK):
            assert store.contains_many(NETWORK, ["key"]) == {"key"}
    assert re.fullmatch(r"store: another process computes [^\n]*; this one waits[^\n]*\n", capfd.readouterr().err)


def test_a_process_that_is_killed_while_it_computes_keeps_nobody_waiting(tmp_path):
    with python(HOLDER, tmp_path, NETWORK, stdin=subprocess.PIPE) as other, Store(tmp_path) as store:
        assert other.stdout.readline() == "inside\n"
        threading.Timer(0.5, other.kill).start()
        with store.computing(NETWORK):
            assert store.contains_many(NETWORK, ["key"]) == set()


# Network file systems -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "lustre"])
def test_a_folder_on_a_network_file_system_is_refused_in_one_line(tmp_path, monkeypatch, kind):
    list_of_mounts = tmp_path / "mounts"
    list_of_mounts.write_text(f"/dev/vda / ext4 rw 0 0\nserver:/share {tmp_path}/share {kind} rw 0 0\n")
    monkeypatch.setattr(mounts, "MOUNTS", list_of_mounts)
    with pytest.raises(GraftError) as refusal:
        Store(tmp_path / "share/store")
    assert str(refusal.value) == (
        f"{tmp_path}/share/store: it is on a network file system ({kind}), where several machines would damage the "
        "store; set GRAFT_STORE to a folder on a disk of this machine"
    )
    assert not (tmp_path / "share").exists()
    with Store(tmp_path / "local") as store:
        store.put_many(NETWORK, ROWS)
        assert store.contains_many(NETWORK, ROWS) == ROWS.keys()


# Damage -------------------------------------------------------------------------------------------


def cut_in_half(content):
    return content[: len(content) // 2]


def random_bytes(content):
    return random.Random(0).randbytes(len(content))


DAMAGES = {
    "zero length": lambda content: b"",
    "one byte": lambda content: b"S",
    "cut in half": cut_in_half,
    "random bytes": random_bytes,
    "text": lambda content: b"no database at all\n" * 1000,
    "header only": lambda content: content[:100],
    "good header, broken pages": lambda content: content[:16384] + random_bytes(content[16384:]),
    "zeroed pages": lambda content: content[:16384] + bytes(len(content) - 16384),
    "a key column that is none": lambda content: content.replace(b"PRIMARY KEY", b"PRILARY KEY"),
    "of an earlier format": lambda content: content[:60] + (1).to_bytes(4, "big") + content[64:],
    "read-only by its header": lambda content: content[:18] + b"\x09" + content[19:],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_file_is_reported_in_one_line_and_rebuilt(tmp_path, capfd, damage):
    file = filled(tmp_path)
    sound = file.read_bytes()
    file.write_bytes(damage(sound))
    assert file.read_bytes() != sound
    with Store(tmp_path) as store:
        assert_right(store.get_many(NETWORK, ROWS), ROWS)
        store.put_many(NETWORK, ROWS)
        found = store.get_many(NETWORK, ROWS)
        assert found.keys() == ROWS.keys()
        assert_right(found, ROWS)
        store.verify()
        store.put_many(NETWORK, ROWS)
        assert store.verify() == Verdict(whole=len(ROWS), broken=0, damaged_files=0)
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    assert f"{file}: damaged (" in error


def test_a_sound_namespace_survives_the_damage_of_another(tmp_path, capfd):
    file = filled(tmp_path)
    with Store(tmp_path) as store:
        store.put_many(OTHER_NETWORK, ROWS)
        file.write_bytes(b"")
        assert store.verify() == Verdict(whole=len(ROWS), broken=0, damaged_files=1)
        assert len(store.get_many(OTHER_NETWORK, ROWS)) == len(ROWS)
    assert capfd.readouterr().err.count("\n") == 1


def test_damage_while_the_file_is_open_is_noticed(tmp_path, capfd):
    rows = blocks(range(100))
    file = filled(tmp_path, rows)
    with Store(tmp_path) as store:
        store.get_many(NETWORK, list(rows)[:1])
        os.truncate(file, file.stat().st_size // 2)
        assert_right(store.get_many(NETWORK, rows), rows)
        store.put_many(NETWORK, rows)
        assert len(store.get_many(NETWORK, rows)) == 100
    assert capfd.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("log", ["empty", "random", "of another namespace"])
def test_a_log_that_is_not_the_files_own_is_never_believed(tmp_path, log):
    file = filled(tmp_path / "store")
    with Store(tmp_path / "other") as other:
        other.put_many(OTHER_NETWORK, {key: array + 1 for key, array in ROWS.items()})
        others_log = (tmp_path / "other" / OTHER_NETWORK / "records.sqlite-wal").read_bytes()
    logs = {"empty": b"", "random": random_bytes(others_log), "of another namespace": others_log}
    file.with_name("records.sqlite-wal").write_bytes(logs[log])
    with Store(tmp_path / "store") as store:
        assert_right(store.get_many(NETWORK, ROWS), ROWS)
        store.put_many(NETWORK, ROWS)
        assert_right(store.get_many(NETWORK, ROWS), ROWS)
        store.verify()
        store.put_many(NETWORK, ROWS)
        assert store.get_many(NETWORK, ROWS).keys() == ROWS.keys()


def test_a_record_moved_to_another_key_or_namespace_is_not_believed(tmp_path, capfd):
    filled(tmp_path)
    shutil.copytree(tmp_path / NETWORK, tmp_path / OTHER_NETWORK)
    with Store(tmp_path) as store:
        assert store.get_many(OTHER_NETWORK, ROWS) == {}
        assert store.dropped == len(ROWS)
        assert store.contains_many(OTHER_NETWORK, ROWS) == set()
    assert capfd.readouterr().err.count("\n") == 1


FLIP_ROWS = {"a": np.arange(10.0), "b": np.arange(3, dtype=np.uint8), "c": np.arange(9000, dtype=np.int32)}


@pytest.fixture(scope="module")
def sound_file(tmp_path_factory):
    return filled(tmp_path_factory.mktemp("sound"), FLIP_ROWS)


@settings(max_examples=150, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255))
def test_any_changed_byte_leaves_an_array_right_or_absent(tmp_path_factory, sound_file, place, change):
    content = bytearray(sound_file.read_bytes())
    content[int(place * len(content))] ^= change
    folder = tmp_path_factory.mktemp("flipped")
    (folder / NETWORK).mkdir()
    (folder / NETWORK / "records.sqlite").write_bytes(content)
    with Store(folder) as store:
        assert_right(store.get_many(NETWORK, FLIP_ROWS), FLIP_ROWS)
        store.put_many(NETWORK, FLIP_ROWS)
        assert_right(store.get_many(NETWORK, FLIP_ROWS), FLIP_ROWS)
        store.verify()
        store.put_many(NETWORK, FLIP_ROWS)
        assert store.get_many(NETWORK, FLIP_ROWS).keys() == FLIP_ROWS.keys()
        assert_right(store.get_many(NETWORK, FLIP_ROWS), FLIP_ROWS)
    shutil.rmtree(folder)


def test_a_changed_byte_inside_an_array_drops_that_record_alone(tmp_path, capfd):
    file = filled(tmp_path, blocks([1, 2, 3]))
    content = bytearray(file.read_bytes())
    content[content.find(bytes([2]) * 1000) + 500] ^= 1
    file.write_bytes(content)
    with Store(tmp_path) as store:
        assert store.get_many(NETWORK, blocks([1, 2, 3])).keys() == blocks([1, 3]).keys()
        assert store.dropped == 1
    assert "1 broken record" in capfd.readouterr().err


def test_the_broken_records_of_several_reads_are_counted_together(tmp_path, capfd):
    file = filled(tmp_path, blocks([1, 2, 3]))
    content = bytearray(file.read_bytes())
    for number in (1, 2):
        content[content.find(bytes([number]) * 1000) + 500] ^= 1
    file.write_bytes(content)
    with Store(tmp_path) as store:
        for number in (1, 2, 3):
            store.get_many(NETWORK, blocks([number]))
        assert store.dropped == 2
    assert ": 2 broken records were deleted; they will be computed again" in capfd.readouterr().err
    store.close()
    assert capfd.readouterr().err == ""


def test_two_processes_that_meet_damage_at_once_report_it_once(tmp_path):
    for content in (b"", b"random" * 9999):
        file = filled(tmp_path)
        file.write_bytes(content)
        writers = [python(WRITER, tmp_path, NETWORK) for _ in range(2)]
        errors = [writer.communicate()[1] for writer in writers]
        assert [writer.returncode for writer in writers] == [0, 0]
        assert "".join(errors).count("\n") == 1
        with Store(tmp_path) as store:
            assert store.verify() == Verdict(whole=400, broken=0, damaged_files=0)
        shutil.rmtree(tmp_path / NETWORK)


def test_the_size_is_known_while_other_processes_make_and_remove_files(tmp_path):
    size = filled(tmp_path).stat().st_size
    other = python(
        """
        import shutil
        print("started", flush=True)
        while True:
            folder = Path(sys.argv[1], ".new-1")
            folder.mkdir()
            (folder / "records.sqlite").touch()
            shutil.rmtree(folder)
        """,
        tmp_path,
    )
    with other, Store(tmp_path) as store:
        try:
            assert other.stdout.readline() == "started\n"
            assert all(store.size() >= size for _ in range(3000))
        finally:
            other.kill()


# Full disks and closed folders --------------------------------------------------------------------

FILLER = """
    from graft.core.errors import GraftError
    Path(sys.argv[1], "started").touch()
    folder, namespace = Path(sys.argv[1], "store"), sys.argv[2]
    with Store(folder) as store:
        number = 0
        try:
            while number < 10000:
                store.put_many(namespace, {str(number): np.full(20000, number, np.int32)})
                number += 1
        except GraftError as error:
            print(number, error)
    with Store(folder) as store:
        found = store.get_many(namespace, [str(n) for n in range(number)])
        assert len(found) == number and all((a == int(n)).all() for n, a in found.items())
        assert store.verify().whole == number
    """


def test_a_full_disk_stops_with_one_line_and_leaves_what_was_stored(tmp_path):
    mounted = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    mounted += ['mount -t tmpfs -o size=4m tmpfs "$1" && shift && exec "$@"', "sh", str(tmp_path)]
    if not shutil.which("unshare") or subprocess.run([*mounted, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no small file system can be mounted here")
    command = [*mounted, sys.executable, "-c", IMPORTS + textwrap.dedent(FILLER), str(tmp_path), NETWORK]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    number, _, message = done.stdout.partition(" ")
    assert int(number) > 5
    assert message.startswith(f"{tmp_path}/store/{NETWORK}/records.sqlite: the disk is full; free some space")
    assert message.count("\n") == 1


def test_a_limit_on_file_sizes_stops_with_one_line_and_leaves_what_was_stored(tmp_path):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4 * MEGABYTE, 4 * MEGABYTE))

    process = python(FILLER, tmp_path, NETWORK, preexec_fn=limit)
    output, error = process.communicate()
    assert error == ""
    assert int(output.split()[0]) > 5
    assert "records.sqlite: the disk is full or failing" in output


def test_a_folder_that_cannot_be_created_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with Store(tmp_path / "file" / "store") as store:
        assert store.get_many(NETWORK, ["key"]) == {}
        with pytest.raises(GraftError, match=r"file/store: cannot write to the store \(.*GRAFT_STORE"):
            store.put_many(NETWORK, ROWS)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission_is_one_line(tmp_path):
    tmp_path.chmod(0o500)
    with Store(tmp_path / "store") as store, pytest.raises(GraftError, match="cannot write to the store .*GRAFT_STORE"):
        store.put_many(NETWORK, ROWS)


# The bound ----------------------------------------------------------------------------------------


NAMES = [namespace_of({"network": str(number)}) for number in range(5)]


def filled_in_turn(folder, numbers=range(5), count=10):
    """Write a megabyte to each of the namespaces, the first one unused for the longest time."""
    for number in numbers:
        with Store(folder) as store:
            store.put_many(NAMES[number], blocks(range(count)))
        last_used = time.time() - 3600 + 60 * number
        os.utime(folder / NAMES[number] / "about.txt", (last_used, last_used))


def namespaces(folder):
    return {contents.namespace for contents in Store(folder).contents()}


def test_whole_namespaces_are_removed_those_unused_longest_first(tmp_path):
    filled_in_turn(tmp_path)
    with Store(tmp_path) as store:
        store.get_many(NAMES[0], blocks([0]))
    with Store(tmp_path) as store:
        before = store.size()
        freed = store.prune(int(3.9 * MEGABYTE))
        assert store.size() == before - freed <= 3.9 * MEGABYTE
        assert namespaces(tmp_path) == {NAMES[0], NAMES[3], NAMES[4]}
        assert len(store.get_many(NAMES[3], blocks(range(10)))) == 10
    assert not (tmp_path / NAMES[1]).exists()


def test_no_more_is_removed_than_the_limit_asks_for(tmp_path):
    filled_in_turn(tmp_path)
    with Store(tmp_path) as store:
        assert store.prune(store.size()) == 0
        store.prune(store.size() - 1)
    assert namespaces(tmp_path) == set(NAMES[1:])


def test_writing_keeps_the_store_within_its_limit(tmp_path):
    filled_in_turn(tmp_path, range(4))
    with Store(tmp_path, 5 * MEGABYTE) as store:
        for number in range(15):
            store.put_many(NAMES[4], blocks([number]))
        assert len(store.get_many(NAMES[4], blocks(range(15)))) == 15
    assert store.size() <= 5 * MEGABYTE
    assert NAMES[3] in namespaces(tmp_path)


def test_what_is_about_to_be_written_counts_before_it_is_written(tmp_path):
    filled_in_turn(tmp_path, range(2))
    with Store(tmp_path, 5 * MEGABYTE // 2) as store:
        store.put_many(NAMES[2], blocks(range(10)))
        assert store.size() <= 5 * MEGABYTE // 2
    assert namespaces(tmp_path) == {NAMES[1], NAMES[2]}


def put_a_block(store, namespace, keys):
    store.put_many(namespace, {"another": block(1)})


@pytest.mark.parametrize("use", [Store.get_many, Store.contains_many, put_a_block])
def test_a_run_keeps_the_namespaces_it_uses_itself_and_says_so_once(tmp_path, capfd, monkeypatch, use):
    filled_in_turn(tmp_path, range(2))
    # The size is measured each time.
    monkeypatch.setattr(store_module, "MEASURE_BYTES", 0)
    with Store(tmp_path, 2 * MEGABYTE) as store:
        use(store, NAMES[0], blocks(range(10)))
        for number in range(20):
            store.put_many(NAMES[2], blocks([number]))
        assert namespaces(tmp_path) == {NAMES[0], NAMES[2]}
        assert store.prune(0) == 0
        assert len(store.get_many(NAMES[0], blocks(range(10)))) == 10
        assert len(store.get_many(NAMES[2], blocks(range(20)))) == 20
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert re.search(
        r"needs 2\.\d MB, more than its limit of 2\.0 MB \(GRAFT_STORE_LIMIT\); all of it is in use, so nothing is "
        r"removed; raise the limit, or run `graft store prune` when this run has ended$",
        lines[0],
    )
    with Store(tmp_path, 2 * MEGABYTE) as store:
        store.put_many(NAMES[3], blocks([300]))
        assert store.size() <= 2 * MEGABYTE


def test_another_process_keeps_what_it_uses_until_it_ends(tmp_path):
    filled_in_turn(tmp_path, range(2))
    code = """
        with Store(sys.argv[1]) as store:
            assert store.contains_many(sys.argv[2], ["other"]) == set()
            print("open", flush=True)
            sys.stdin.read()
        """
    with python(code, tmp_path, NAMES[0], stdin=subprocess.PIPE) as user, Store(tmp_path) as store:
        assert user.stdout.readline() == "open\n"
        store.prune(0)
        assert namespaces(tmp_path) == {NAMES[0]}
        user.kill()
        user.wait()
        store.prune(0)
        assert namespaces(tmp_path) == set()


def test_processes_that_evict_each_others_namespaces_lose_nothing_they_use(tmp_path):
    code = """
        import time
        print("ready", flush=True)
        sys.stdin.readline()
        for round in range(8):
            with Store(sys.argv[1], 10**5) as store:
                rows = {str(n): np.full(2000, round, np.float64) for n in range(20)}
                namespace = f"{sys.argv[2]}{round}"
                store.put_many(namespace, rows)
                time.sleep(0.02)
                store.put_many(namespace, {"more": np.zeros(2000)})
                assert store.get_many(namespace, rows).keys() == rows.keys()
        """
    writers = [python(code, tmp_path, letter, stdin=subprocess.PIPE) for letter in "abc"]
    assert [writer.stdout.readline() for writer in writers] == ["ready\n"] * 3
    for writer in writers:
        writer.stdin.write("start\n")
        writer.stdin.flush()
    errors = "".join(writer.communicate()[1] for writer in writers)
    assert [writer.returncode for writer in writers] == [0, 0, 0], errors
    assert "damaged" not in errors
    with Store(tmp_path) as store:
        store.prune(10**5)
        assert store.size() <= 10**5
        assert (store.verify().broken, store.verify().damaged_files) == (0, 0)


def test_a_removed_namespace_is_filled_again(tmp_path):
    filled_in_turn(tmp_path, [0])
    with Store(tmp_path) as store:
        store.prune(0)
        assert store.get_many(NAMES[0], ["0"]) == {}
        store.put_many(NAMES[0], ROWS)
        assert_right(store.get_many(NAMES[0], ROWS), ROWS)


def test_a_use_renews_the_last_use_and_a_look_does_not(tmp_path):
    filled_in_turn(tmp_path, range(2))
    with Store(tmp_path) as store:
        store.verify()
        old, older = (contents.last_used for contents in store.contents())
        assert older < old < time.time() - 1800
        assert [contents.namespace for contents in store.contents()] == [NAMES[1], NAMES[0]]
        store.contains_many(NAMES[0], ["0"])
        assert [contents.namespace for contents in store.contents()] == [NAMES[0], NAMES[1]]
        assert store.contents()[0].last_used == pytest.approx(time.time(), abs=600)


def test_a_namespace_of_an_earlier_version_without_a_last_use_goes_first(tmp_path):
    filled_in_turn(tmp_path, range(2))
    (tmp_path / NAMES[1] / "about.txt").unlink()
    with Store(tmp_path) as store:
        store.prune(store.size() - 1)
    assert namespaces(tmp_path) == {NAMES[0]}


def test_what_a_killed_process_left_half_removed_is_removed(tmp_path):
    filled_in_turn(tmp_path, [0, 1])
    (tmp_path / NAMES[0]).rename(tmp_path / ".old")
    with Store(tmp_path) as store:
        assert store.size() > 2 * MEGABYTE
        store.prune(int(1.5 * MEGABYTE))
        assert store.size() < 1.5 * MEGABYTE
    assert namespaces(tmp_path) == {NAMES[1]}


def test_the_contents_say_what_each_namespace_holds(tmp_path):
    with Store(tmp_path) as store:
        store.describe(NETWORK, {"backbone": "one", "size": "224"})
        store.put_many(NETWORK, blocks(range(3)))
    (found,) = Store(tmp_path).contents()
    assert (found.namespace, found.description, found.records) == (NETWORK, "backbone one, size 224", 3)
    assert 300_000 < found.size <= Store(tmp_path).size()


def test_the_limit_comes_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAFT_STORE_LIMIT", "1.5 gb")
    assert Store(tmp_path).limit_bytes == 1_500_000_000
    monkeypatch.setenv("GRAFT_STORE_LIMIT", "plenty")
    with pytest.raises(GraftError, match="GRAFT_STORE_LIMIT: 'plenty' is not a size; write for"):
        Store(tmp_path)
    monkeypatch.delenv("GRAFT_STORE_LIMIT")
    assert Store(tmp_path).limit_bytes == 20 * 10**9


def test_memory_does_not_grow_with_the_number_of_records(tmp_path):
    code = """
        import resource
        with Store(sys.argv[1]) as store:
            for start in range(0, int(sys.argv[3]), 50):
                rows = {str(n): np.full(20000, n, np.float32) for n in range(start, start + 50)}
                store.put_many(sys.argv[2], rows)
            for start in range(0, int(sys.argv[3]), 50):
                assert len(store.get_many(sys.argv[2], [str(n) for n in range(start, start + 50)])) == 50
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        """
    peaks = [int(python(code, tmp_path / str(n), NETWORK, n).communicate()[0]) for n in (300, 1800)]
    assert peaks[1] - peaks[0] < 12_000  # kilobytes; the records are 120,000 more
