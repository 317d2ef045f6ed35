"""Weights files: the right one is read, any other is one line, whatever is in it, in bounded time and memory."""

import random
import zipfile

import h5py
import keras
import numpy as np
import pytest

from graft.backbone import weights
from graft.backbone.weights import draw_weights, load_weights
from graft.core.errors import GraftError

SUFFIXES = (".h5", ".weights.h5", ".keras")


def network():
    images = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(2, 3, name="a")(images)
    model = keras.Model(images, keras.layers.BatchNormalization(name="b")(x), name="tiny")
    draw_weights(model)
    return model


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture(scope="module")
def contents(model, tmp_path_factory):
    """The bytes of a file of each format by its suffix."""
    folder = tmp_path_factory.mktemp("good")
    for suffix in SUFFIXES:
        path = folder / f"good{suffix}"
        model.save_weights(path) if suffix == ".weights.h5" else model.save(path)
    return {suffix: (folder / f"good{suffix}").read_bytes() for suffix in SUFFIXES}


@pytest.fixture
def refusal(model, tmp_path):
    """Return a function that loads a file, given its name and content, and gives the one line that refuses it."""

    def refused(name, content=None):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(GraftError) as caught:
            load_weights(model, path)
        message = str(caught.value)
        assert "\n" not in message
        assert message.startswith(f"weights: {path} ")
        return message.removeprefix(f"weights: {path} ")

    return refused


def hdf5(path, write):
    with h5py.File(path, "w") as file:
        write(file)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("part", [0, 0.01, 0.5, 0.99])
def test_a_cut_file_is_refused(refusal, contents, suffix, part):
    content = contents[suffix]
    assert refusal(f"cut{suffix}", content[: int(part * len(content))]).startswith("is damaged, or not of Keras (")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_text_and_another_archive_are_refused(refusal, suffix, tmp_path):
    assert refusal(f"text{suffix}", b"no weights").startswith("is damaged, or not of Keras (")
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        archive.writestr("a.txt", "text")
    assert "is damaged, or not of Keras (" in refusal(f"zip{suffix}", (tmp_path / "zip").read_bytes())


@pytest.mark.parametrize("name", ["a.npz", "a.pt", "a.pth", "a", "a.H5", "a.weights.json"])
def test_a_file_that_is_not_of_keras_is_refused_by_its_name(refusal, name):
    advice = "give imagenet, none, or a Keras .h5, .weights.h5 or .keras file, or a .ckpt of TF-slim"
    assert refusal(name, b"PK") == f"is no Keras weights file; {advice}"


def test_a_folder_is_refused(refusal, tmp_path):
    (tmp_path / "a.h5").mkdir()
    assert refusal("a.h5").startswith("is no Keras weights file; give")


@pytest.mark.parametrize("suffix", [".h5", ".weights.h5"])
def test_an_hdf5_file_without_layers_is_refused(refusal, tmp_path, suffix):
    hdf5(tmp_path / f"a{suffix}", lambda file: file.create_group("layers"))
    assert refusal(f"a{suffix}").startswith("does not hold the weights of tiny without top (")


def test_names_of_another_type_are_refused(refusal, tmp_path):
    hdf5(tmp_path / "a.h5", lambda file: file.attrs.update(layer_names=5))
    assert refusal("a.h5").startswith("does not hold the weights of tiny without top (")


def test_weights_of_other_shapes_are_refused(refusal, tmp_path):
    images = keras.Input((8, 8, 3))
    keras.Model(images, keras.layers.Conv2D(3, 3)(images)).save(tmp_path / "a.h5")
    assert refusal("a.h5").startswith("does not hold the weights of tiny without top (")


def test_links_to_other_files_are_refused(refusal, tmp_path):
    hdf5(tmp_path / "other.h5", lambda file: file.create_dataset("x", data=np.ones(3)))

    def link(file):
        file["x"] = h5py.ExternalLink("other.h5", "/x")

    hdf5(tmp_path / "a.h5", link)
    assert "/x is a link out of it" in refusal("a.h5")


def test_values_in_other_files_are_refused(refusal, tmp_path):
    (tmp_path / "values").write_bytes(bytes(24))
    outside = [(str(tmp_path / "values"), 0, 24)]
    hdf5(tmp_path / "a.h5", lambda file: file.create_dataset("x", (3,), "f8", external=outside))
    assert "/x has its values in another file" in refusal("a.h5")


@pytest.mark.parametrize("options", [{"chunks": (1 << 20,)}, {"chunks": (1 << 20,), "compression": "gzip"}])
def test_an_array_that_claims_a_thousand_million_values_is_refused_before_it_is_read(refusal, tmp_path, options):
    hdf5(tmp_path / "a.h5", lambda file: file.create_dataset("x", (10**9,), "f4", **options))
    assert "its arrays claim more than 20 times the size of the file" in refusal("a.h5")


def test_a_zip_bomb_is_refused(refusal, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(10**7))
    assert "its model.weights.h5 claims more than 20 times the size of the file" in refusal("a.keras")


def test_groups_that_hold_each_other_are_no_endless_way(refusal, tmp_path):
    def circle(file):
        file.create_group("a")["b"] = file["/"]

    hdf5(tmp_path / "a.h5", circle)
    assert refusal("a.h5").startswith("does not hold the weights of tiny")


def test_a_file_that_hangs_hdf5_is_refused(refusal, tmp_path, monkeypatch):
    """One bit in the size of a text, and HDF5 1.14 reads it for ever."""

    def names(file):
        for name in ("a", "b"):
            file.create_group(name).attrs["weight_names"] = [f"{name}/kernel", f"{name}/bias"]

    hdf5(tmp_path / "a.h5", names)
    content = bytearray((tmp_path / "a.h5").read_bytes())
    content[content.index(b"a/bias\0\0") + 17] ^= 4
    monkeypatch.setattr(weights, "CHECK_SECONDS", 3)
    assert refusal("a.h5", content).startswith("is damaged, or not of Keras (not read in 3 s)")


# Seeds of bits whose files once ended in a RuntimeError about link existence, object info or attributes, or BadZipFile.
@pytest.mark.parametrize(
    ("suffix", "seed"),
    [(".weights.h5", 13), (".weights.h5", 56), (".weights.h5", 156), (".h5", 33), (".h5", 34), (".h5", 53),
     (".keras", 0), (".keras", 10), (".keras", 250)],
)  # fmt: skip
def test_flipped_bits_give_a_network_or_one_line(model, contents, tmp_path, suffix, seed):
    content = bytearray(contents[suffix])
    chance = random.Random(seed)
    for _ in range(chance.choice([1, 1, 1, 2, 8])):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path = tmp_path / f"flipped{suffix}"
    path.write_bytes(content)
    try:
        load_weights(model, path)
    except GraftError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017
