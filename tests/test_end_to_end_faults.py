"""Bad input through the real dvc: one clear line, a failing status, and earlier outputs that come back."""

import re
import shutil
import subprocess
import tarfile
from importlib import import_module

import pytest
from clones import SMALL, ran

from graft.core.errors import GraftError

NO_HASH = "0" * 64
SILENT = "http://127.0.0.1:1/x.tgz"
# By what is wrong: the changes to params.yaml, and what the line must say.
SETTINGS = {
    "unknown data set": ({"dataset": "flower_photo"}, r"dataset: flower_photo .*did you mean 'flower_photos'\?"),
    "unknown backbone": ({"backbone": "MobileNetV2_36"}, r"backbone .*did you mean .*'MobileNetV2_035'"),
    "misspelt key": ({"fine_tune__epoch": 3}, r"params\.yaml: .*epoch.*epochs"),
    "wrong type": ({"seed": "many"}, r"params\.yaml: seed is 'many': .*integer"),
    "out of range": ({"split__validation": 1.5}, r"params\.yaml: split\.validation is 1\.5: .*above 0 and below 1"),
    "too few images": ({"split__validation": 1e-9}, r"split: no validation image among 60"),
    "too small images": ({"image_size": 16}, r"image_size: 16 is too small, simple_cnn takes 22 or more"),
    "pooled features for a block": ({"head__kind": "se", "head__C": "auto"}, r"pooling is avg, .* set pooling to none"),
    "widths of a linear head": ({"head__widths": [8]}, r"widths is \[8\], but kind is linear: set widths to \[\]"),
    "unknown layer": ({"fine_tune__from_layer": "conv3d"}, r"conv3d.*conv"),
    "no such weights": ({"weights": "imagenot.h5"}, r"weights: no file imagenot\.h5"),
    "address without checksum": ({"dataset": SILENT}, r"dataset: \S+ needs dataset_sha256"),
    "address that does not answer": (
        {"dataset": SILENT, "dataset_sha256": NO_HASH},
        r"http://127\.0\.0\.1:1/x\.tgz: cannot be fetched \(.*\); check the address and the network",
    ),
}


def assert_one_line(clone, pattern, *command):
    """Run dvc, which must fail with one clear line."""
    result = clone.attempt("dvc", *command)
    assert result.returncode != 0
    text = result.stdout + result.stderr
    assert "Traceback" not in text
    (line,) = [line for line in text.splitlines() if line.startswith("error: ")]
    assert re.search(pattern, line), line


def assert_refused(clone, before, pattern, *command):
    """Run dvc, which must fail with one clear line; `make restore` then brings back all that was committed."""
    assert_one_line(clone, pattern, *command)
    clone.run("make", "restore")
    # data/source leads to the images, wherever they are now.
    assert clone.outputs() | {"data/source": None} == before | {"data/source": None}


@pytest.fixture(scope="module")
def shared(finished, tmp_path_factory):
    """A copy of the finished clone for all bad settings."""
    return finished.copied(tmp_path_factory.mktemp("shared"))


def run_first_stages():
    for stage in ("resolve", "download", "split", "freeze"):
        import_module(f"stages.{stage}").main()


@pytest.mark.parametrize("fault", SETTINGS)
def test_a_bad_setting_ends_a_stage_with_one_line(project, tmp_path, write_image_folder, fault):
    changes, pattern = SETTINGS[fault]
    write_image_folder(tmp_path / "photos", count=20)
    project.set(**SMALL | changes)
    with pytest.raises(GraftError) as caught:
        run_first_stages()
    assert len(str(caught.value).splitlines()) == 1
    assert re.search(pattern, str(caught.value))


# One that the schema refuses, and one that a later stage does.
QUICK = {"wrong type", "too few images"}


@pytest.mark.parametrize(
    "fault", [pytest.param(fault, marks=[pytest.mark.slow] * (fault not in QUICK)) for fault in SETTINGS]
)
def test_a_bad_setting_is_refused(shared, fault):
    changes, pattern = SETTINGS[fault]
    shared.set(**changes)
    assert_one_line(shared, pattern, "repro")
    shared.git("checkout", "--quiet", "params.yaml")


# test_end_to_end_experiments.py has a refused experiment, and the way back from it, in every run of the tests.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "pattern"),
    [("lr=fast", r"lr is 'fast'"), ("backbone=simple_cn", r"did you mean 'simple_cnn'\?")],
)
def test_a_bad_setting_of_an_experiment_is_refused(clone, setting, pattern):
    assert_refused(clone, clone.outputs(), pattern, "exp", "run", "-S", setting)


# What ran before is brought back in test_end_to_end_experiments.py too.
@pytest.mark.slow
def test_once_a_bad_learning_rate_is_mended_nothing_has_to_run(clone):
    before = clone.outputs()
    clone.set(lr=-1)
    assert "params.yaml: lr is -1: " in clone.attempt("dvc", "repro").stderr
    clone.git("checkout", "--quiet", "params.yaml")
    assert ran(clone.dvc("repro")) == []
    assert clone.outputs() == before


def _no_readable_image(clone):
    for path in (clone.photos / "red").iterdir():
        path.write_bytes(b"")


def _one_class(clone):
    shutil.rmtree(clone.photos / "red")
    shutil.rmtree(clone.photos / "blue")


def _strict_and_unreadable(clone):
    (clone.photos / "red/text.png").write_text("not a picture")
    clone.set(strict=True)


def _other_archive(clone):
    with tarfile.open(clone.folder / "photos.tgz", "w:gz") as tar:
        tar.add(clone.photos, "photos")
    clone.set(dataset="../photos.tgz", dataset_sha256=NO_HASH)


# test_download.py has all these lines; the first stands for their way through DVC in every run of the tests.
@pytest.mark.parametrize(
    ("damage", "pattern"),
    [
        (_no_readable_image, r"\.\./photos: no readable image in class folder 'red'"),
        *(
            pytest.param(damage, pattern, marks=pytest.mark.slow)
            for damage, pattern in (
                (_one_class, r"\.\./photos: 1 class folder found; it must hold two or more"),
                (_strict_and_unreadable, r"red/text\.png: not a readable image .*1 of 61 images are refused"),
                (_other_archive, rf"photos\.tgz: its SHA-256 is [0-9a-f]{{64}}, but dataset_sha256 is {NO_HASH}"),
            )
        ),
    ],
)
def test_bad_images_are_refused(clone, damage, pattern):
    before = clone.outputs()
    damage(clone)
    assert_refused(clone, before, pattern, "repro")


def test_an_unreadable_image_is_skipped_and_listed(clone):
    (clone.photos / "red/text.png").write_text("not a picture")
    assert "60 images in 3 classes, 1 refused" in clone.dvc("repro", "split")
    assert "red/text.png" in (clone.path / "data/raw.json").read_text(encoding="utf-8")


# What is left of a folder after a command that ran while its disk was full goes to a second folder.
ON_A_FULL_DISK = """
    cp -a "$1" "$2" && mount -t tmpfs -o size=4m tmpfs "$1" && cp -a "$2/." "$1" || exit 99
    folder=$1 left=$2
    # DVC removes a stage's earlier outputs: what that frees is filled too.
    while sleep 0.05; do cat /dev/zero >> "$folder/.filler"; done 2> /dev/null &
    shift 2
    "$@"
    status=$?
    kill $!
    rm -r "$left" "$folder/.filler" && cp -a "$folder" "$left"
    exit $status
"""


@pytest.mark.parametrize(
    ("before", "stage", "folder", "changes"),
    [
        ("freeze", "extract", "data", {"head__views": 1}),
        pytest.param("extract", "train_head", "models", {"head__C": 2.0}, marks=pytest.mark.slow),
        pytest.param("train_head", "fine_tune", "models", {"lr": 2e-3}, marks=pytest.mark.slow),
        pytest.param("fine_tune", "export", "models", {"display_names": {"red": "rouge"}}, marks=pytest.mark.slow),
        pytest.param("export", "evaluate", "metrics", {"display_names": {"red": "rouge"}}, marks=pytest.mark.slow),
    ],
)
def test_a_full_disk_leaves_no_half_written_file_and_the_next_run_goes_on(clone, before, stage, folder, changes):
    private = ["unshare", "--user", "--map-root-user", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*private, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no small file system can be mounted here")
    clone.set(**changes)
    clone.dvc("repro", before)
    whole = clone.outputs()
    full, left = clone.path / folder, clone.folder / "left"
    done = clone.attempt(*private, "sh", "-c", ON_A_FULL_DISK, "sh", str(full), str(left), "dvc", "repro", stage)
    assert "the disk is full; free some space and run again" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    shutil.rmtree(full)
    left.rename(full)
    assert clone.outputs().items() <= whole.items()
    assert ran(clone.dvc("repro", stage)) == [stage]
    assert clone.outputs().keys() >= whole.keys()


def test_an_experiment_writes_nothing_through_the_links_to_the_users_archive_and_weights(clone):
    # Where git had a file in place of a link, DVC's stash wrote that file's content into the user's archive.
    clone.set(dataset="digits")
    clone.dvc("repro", "resolve")
    clone.commit("The digits")
    archive, weights = clone.folder / "photos.tar", clone.folder / "weights.h5"
    with tarfile.open(archive, "w") as tar:
        tar.add(clone.photos, "photos")
    weights.write_bytes(bytes(1000))
    before = archive.read_bytes(), weights.read_bytes()
    clone.set(dataset=str(archive), weights=str(weights))
    clone.dvc("repro", "resolve")
    clone.dvc("exp", "run", "-S", "lr=1e-4", "resolve")
    clone.dvc("exp", "run", "--temp", "-S", "lr=2e-4", "resolve")
    assert (archive.read_bytes(), weights.read_bytes()) == before
    assert clone.source.resolve() == archive.resolve()
