"""The exported file says what it is: signature, metadata and label files, read by LiteRT, zip and MediaPipe."""

import hashlib
import json
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as litert_schema
from ai_edge_litert.interpreter import Interpreter
from compiled_networks import run_compiled

from graft.backbone.compile import compile_network
from graft.core.errors import GraftError
from graft.core.files import write_json
from graft.serving.classifier import Classifier
from graft.serving.metadata import (
    DESCRIPTION_FILE,
    Output,
    class_probabilities,
    packed_description,
    with_metadata,
)

LABELS = ["blue", "green", "red"]
DESCRIPTION = {"labels": LABELS, "image_size": 16, "resize": "crop", "crops": 2}
PIXELS = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
NAMES = {"blue": "蓝色", "red": "rouge"}


@pytest.fixture
def network(compiled):
    """The bytes of a compiled classifier of blue, green and red without metadata."""
    return compiled.classifier.read_bytes()


def exported(network, **changes):
    description = DESCRIPTION | changes
    return with_metadata(network, description, [class_probabilities(description)])


@pytest.fixture
def write(tmp_path):
    """Return a function that writes an exported file and returns its path."""

    def write_file(content):
        path = tmp_path / "classifier.tflite"
        path.write_bytes(content)
        return path

    return write_file


@pytest.fixture(scope="module")
def two_outputs():
    """The bytes of a classifier with a second output: the probability that the image shows none of the classes."""
    image = keras.Input((16, 16, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(image)
    classes, unknown = keras.layers.Dense(3, activation="softmax"), keras.layers.Dense(1, activation="sigmoid")
    return compile_network(keras.Model(image, [classes(pooled), unknown(pooled)]), lambda images: images / 255)


NONE_OF_THESE = Output("none_of_these", "How likely the image shows none of the classes.", ["none of these"])


def classify(content, image, **options):
    """Return the classifications by MediaPipe Tasks' ImageClassifier of an RGB image."""
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

    base = BaseOptions(model_asset_buffer=content)
    with vision.ImageClassifier.create_from_options(
        vision.ImageClassifierOptions(base_options=base, **options)
    ) as classifier:
        pixels = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=image)
        return classifier.classify(pixels).classifications


def metadata_of(content):
    """Return the metadata by the schema that MediaPipe's package brings."""
    from mediapipe.tasks.metadata import metadata_schema_py_generated as schema

    model = litert_schema.ModelT.InitFromPackedBuf(content)
    (entry,) = [entry for entry in model.metadata if entry.name == b"TFLITE_METADATA"]
    buffer = model.buffers[entry.buffer].data.tobytes()
    assert schema.ModelMetadata.ModelMetadataBufferHasIdentifier(buffer, 0)
    return schema.ModelMetadataT.InitFromObj(schema.ModelMetadata.GetRootAs(buffer, 0))


def test_the_signature_and_the_tensors_have_names(network):
    interpreter = Interpreter(model_content=exported(network))
    assert interpreter.get_signature_list() == {"serving_default": {"inputs": ["image"], "outputs": ["probabilities"]}}
    assert [details["name"] for details in interpreter.get_input_details()] == ["image"]
    assert [details["name"] for details in interpreter.get_output_details()] == ["probabilities"]
    found = interpreter.get_signature_runner()(image=PIXELS[np.newaxis])
    np.testing.assert_array_equal(found["probabilities"], run_compiled(network, PIXELS[np.newaxis])[0])


def test_litert_computes_the_same_bits_from_memory_and_from_a_mapped_file(network, write):
    content = exported(network)
    (expected,) = run_compiled(network, PIXELS[np.newaxis])
    interpreter = Interpreter(model_path=str(write(content)))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], PIXELS[np.newaxis])
    interpreter.invoke()
    mapped = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    for found in (*run_compiled(content, PIXELS[np.newaxis]), mapped):
        np.testing.assert_array_equal(found, expected)


def test_weights_start_at_multiples_of_16_bytes(compiled):
    content = with_metadata(compiled.trunk.read_bytes(), DESCRIPTION, [Output("maps", "Feature maps.")])
    model = litert_schema.Model.GetRootAs(content)
    start = np.frombuffer(content, np.uint8).__array_interface__["data"][0]
    buffers = [model.Buffers(number) for number in range(model.BuffersLength())]
    places = [one.DataAsNumpy().__array_interface__["data"][0] - start for one in buffers if one.DataLength()]
    assert len(places) > 2
    assert [place % 16 for place in places] == [0] * len(places)


def test_the_file_is_a_zip_archive_with_the_labels_and_the_description(network, write):
    with zipfile.ZipFile(write(exported(network, display_names=NAMES))) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["labels.json", "labels.txt", "display_names.txt"]
        assert archive.read("labels.txt").decode() == "blue\ngreen\nred\n"
        assert archive.read("display_names.txt").decode() == "蓝色\ngreen\nrouge\n"
        assert json.loads(archive.read("labels.json")) == DESCRIPTION | {"display_names": NAMES}


def test_without_display_names_there_is_no_file_of_them(network, write):
    with zipfile.ZipFile(write(exported(network))) as archive:
        assert archive.namelist() == ["labels.json", "labels.txt"]


def test_a_line_break_in_a_label_makes_no_further_label(network, write):
    with zipfile.ZipFile(write(exported(network, labels=["light\r\nblue", "green", "red"]))) as archive:
        assert archive.read("labels.txt").decode() == "light blue\ngreen\nred\n"


def test_the_metadata_describe_the_image_and_the_probabilities(network):
    found = metadata_of(exported(network, display_names=NAMES))
    (graph,) = found.subgraphMetadata
    (image,), (output,) = graph.inputTensorMetadata, graph.outputTensorMetadata
    assert (found.name, found.author, found.version) == (b"Graft classifier", None, None)
    assert (image.name, image.description) == (b"image", b"RGB, 16 x 16 pixels, 0 to 255; resize: crop.")
    assert image.content.contentProperties.colorSpace == 1
    (unit,) = image.processUnits
    assert (list(unit.options.mean), list(unit.options.std)) == ([0], [1])
    assert (output.name, output.description) == (b"probabilities", b"The probability of each class; their sum is 1.")
    files = [(file.name, file.type, file.locale) for file in output.associatedFiles]
    assert files == [(b"labels.txt", 2, None), (b"display_names.txt", 2, b"en")]


def test_the_bytes_are_the_same_each_time_and_hold_no_date(network, write):
    content = exported(network, display_names=NAMES)
    assert content == exported(network, display_names=NAMES)
    with zipfile.ZipFile(write(content)) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_each_process_writes_the_same_bytes(compiled, run_python):
    code = (
        "import hashlib, sys; from pathlib import Path;"
        "from graft.serving.metadata import class_probabilities, with_metadata;"
        f"description = {DESCRIPTION!r};"
        "content = with_metadata(Path(sys.argv[1]).read_bytes(), description, [class_probabilities(description)]);"
        "print(hashlib.sha256(content).hexdigest())"
    )
    found = run_python("-c", code, compiled.classifier, PYTHONHASHSEED="1", TZ="Asia/Tokyo", LC_ALL="C")
    expected = hashlib.sha256(exported(compiled.classifier.read_bytes())).hexdigest()
    assert found.stdout.strip() == expected, found.stderr


def test_another_number_of_outputs_than_the_network_has_is_a_mistake_of_the_caller(two_outputs):
    with pytest.raises(ValueError, match=r"zip\(\)"):
        exported(two_outputs)


def test_the_description_can_be_read_from_the_exported_file(network, write):
    assert packed_description(write(exported(network))) == DESCRIPTION


@pytest.mark.parametrize("content", [None, b"", b"no archive", b"[1]", b"{", b"[" * 100_000])
def test_a_file_without_a_description_has_none(network, write, content):
    path = write(network if content is None else content)
    if content is not None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(DESCRIPTION_FILE, content)
    assert packed_description(path) is None


def test_a_description_of_unbounded_size_is_not_read(network, write):
    path = write(network)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(DESCRIPTION_FILE, json.dumps({"labels": ["x" * 20_000_000]}))
    assert packed_description(path) is None


def test_a_damaged_archive_has_a_description_or_none_and_never_ends_in_a_traceback(network, write):
    content = exported(network)
    start = content.index(b"PK\x03\x04")
    found = []
    for place in range(start, len(content)):
        for value in (0, 8, 255):
            damaged = bytearray(content)
            damaged[place] = value
            found.append(packed_description(write(damaged)))
    assert None in found
    assert DESCRIPTION in found


def test_reading_the_description_needs_neither_tensorflow_nor_flatbuffers(network, write, run_python):
    code = (
        "import sys; from pathlib import Path; from graft.serving.metadata import packed_description;"
        "packed_description(Path(sys.argv[1]));"
        "print(sorted({'tensorflow', 'keras', 'flatbuffers', 'ai_edge_litert'} & set(sys.modules)))"
    )
    assert run_python("-c", code, write(exported(network))).stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("labels", ["blue", "red", "green"], "labels is ['blue', 'red', 'green'], but ['blue', 'green', 'red']"),
        ("labels", ["blue", "green"], "labels is ['blue', 'green'], but ['blue', 'green', 'red']"),
        ("image_size", 32, "image_size is 32, but 16"),
        ("resize", "squash", "resize is 'squash', but 'crop'"),
        ("crops", 3, "crops is 3, but 2"),
        ("threshold", 0.5, "threshold is 0.5, but 'missing'"),
    ],
)
def test_files_of_two_exports_are_refused_in_one_line(network, write, tmp_path, key, value, message):
    path, description = write(exported(network)), tmp_path / "labels.json"
    write_json(description, DESCRIPTION | {key: value})
    with pytest.raises(GraftError) as raised:
        Classifier(path, description)
    assert str(raised.value) == (
        f"{description}: {message} in {path}: the files are of two exports; "
        "copy both from one, or `dvc repro` writes both again"
    )


def test_display_names_and_the_largest_image_can_be_changed_after_the_export(network, write, tmp_path):
    write_json(tmp_path / "labels.json", DESCRIPTION | {"display_names": {"red": "rot"}, "max_pixels": 5})
    classifier = Classifier(write(exported(network)), tmp_path / "labels.json")
    assert (classifier.names, classifier.max_pixels) == (["blue", "green", "rot"], 5)


def test_a_file_without_metadata_is_loaded(compiled, tmp_path):
    write_json(tmp_path / "labels.json", DESCRIPTION)
    assert Classifier(compiled.classifier, tmp_path / "labels.json").labels == LABELS


def test_mediapipe_names_the_classes_and_gives_the_scores_of_litert(network):
    (head,) = classify(exported(network), PIXELS)
    (expected,) = run_compiled(network, PIXELS[np.newaxis])
    assert head.head_name == "probabilities"
    assert [category.category_name for category in head.categories] == [LABELS[i] for i in np.argsort(-expected[0])]
    found = {category.category_name: category.score for category in head.categories}
    assert found == pytest.approx(dict(zip(LABELS, expected[0].tolist(), strict=True)), abs=1e-5)


def test_mediapipe_gives_display_names_without_an_option(network):
    (head,) = classify(exported(network, display_names=NAMES), PIXELS)
    found = {category.category_name: category.display_name for category in head.categories}
    assert found == {"blue": "蓝色", "green": "green", "red": "rouge"}


def test_mediapipe_gives_a_second_output_as_a_second_head(two_outputs):
    content = with_metadata(two_outputs, DESCRIPTION, [class_probabilities(DESCRIPTION), NONE_OF_THESE])
    classes, unknown = classify(content, PIXELS, max_results=1)
    expected = run_compiled(two_outputs, PIXELS[np.newaxis])
    assert classes.categories[0].category_name == LABELS[expected[0].argmax()]
    assert classes.categories[0].score == pytest.approx(expected[0].max(), abs=1e-5)
    assert (unknown.head_name, unknown.categories[0].category_name) == ("none_of_these", "none of these")
    assert unknown.categories[0].score == pytest.approx(expected[1].item(), abs=1e-5)


def test_each_output_has_its_own_label_files(two_outputs, write):
    outputs = [class_probabilities(DESCRIPTION | {"display_names": NAMES}), NONE_OF_THESE]
    with zipfile.ZipFile(write(with_metadata(two_outputs, DESCRIPTION, outputs))) as archive:
        assert archive.read("none_of_these_labels.txt").decode() == "none of these\n"
        assert archive.read("labels.txt").decode() == "blue\ngreen\nred\n"


def test_the_pipeline_writes_a_file_that_names_its_classes(finished):
    path = finished.path / "models/classifier.tflite"
    description = json.loads(Path(finished.path, "models/labels.json").read_text(encoding="utf-8"))
    assert packed_description(path) == description
    size = description["image_size"]
    image = np.random.default_rng(1).integers(0, 256, (size, size, 3), np.uint8)
    (head,) = classify(path.read_bytes(), image)
    (expected,) = run_compiled(path.read_bytes(), image[np.newaxis])
    found = {category.category_name: category.score for category in head.categories}
    assert found == pytest.approx(dict(zip(description["labels"], expected[0].tolist(), strict=True)), abs=1e-5)
