"""The exported model in further formats: `export.formats`, `graft export`, evaluate and `graft benchmark`."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from split_files import write_split

from graft.__main__ import command
from graft.commands.export import FILES
from graft.core import packages, paths
from graft.core.errors import GraftError
from graft.core.files import sha256_of, write_json
from graft.images.table import read_image_table
from graft.serving import runtimes
from graft.serving.onnx_file import to_onnx
from graft.settings import params

LABELS = ["blue", "green", "red"]
DESCRIPTION = {"labels": LABELS, "image_size": 16, "resize": "squash", "crops": 1}
ALL = ["tflite_float16", "tflite_int8", "onnx"]


@pytest.fixture
def exported(project, image_folder, compiled):
    """A project with images and models/classifier.tflite, and the same network as ONNX in models/formats."""
    write_split(image_folder)
    paths.FORMATS_FOLDER.mkdir(parents=True)
    shutil.copy(compiled.classifier, paths.CLASSIFIER)
    write_json(paths.LABELS, DESCRIPTION)
    paths.FORMATS["onnx"].write_bytes(to_onnx(paths.CLASSIFIER.read_bytes(), DESCRIPTION))


@pytest.fixture
def without(monkeypatch):
    """Return a function that hides an installed package."""

    def hide(name):
        real = packages.find_spec
        monkeypatch.setattr(packages, "find_spec", lambda package: None if package == name else real(package))

    return hide


@pytest.mark.parametrize(
    ("formats", "message"),
    [
        (["tflite_int9"], r"export\.formats is 'tflite_int9': [^\n]*'tflite_float16', 'tflite_int8' or 'onnx'"),
        (
            ["keras"],
            r"export\.formats is \['keras'\]: keras has other bytes [^\n]*graft export --format keras",
        ),
        (["tflite"], r"export\.formats is \['tflite'\]: tflite is always exported; leave it out"),
        ("onnx", r"export\.formats is 'onnx': [^\n]*list"),
    ],
)
def test_a_format_that_is_no_output_of_the_pipeline_is_refused(project, formats, message):
    project.set(export__formats=formats)
    with pytest.raises(GraftError, match=f"^params.yaml: {message}[^\n]*$"):
        params.load()


def test_a_package_that_is_not_installed_is_one_line_with_the_command_that_installs_it(without):
    without("onnx")
    packages.require_formats(["tflite_int8"], "export.formats")
    with pytest.raises(
        GraftError, match=r"^export\.formats: the package onnx is not installed; run pip install [^\n]*'\.\[onnx\]'$"
    ):
        packages.require_formats(["onnx"], "export.formats")


def test_evaluate_compares_each_further_file_with_the_shipped_one(exported):
    images = read_image_table().part("test")
    shipped = runtimes.probabilities(runtimes.litert(paths.CLASSIFIER), DESCRIPTION, images.files())
    found = runtimes.figures_of_formats(shipped, DESCRIPTION, images)
    assert list(found) == ["tflite", "onnx"]
    assert found["onnx"]["bytes"] == paths.FORMATS["onnx"].stat().st_size
    assert found["onnx"]["largest_difference"] <= 1e-5
    assert (found["onnx"]["agreement"], found["onnx"]["accuracy"]) == (1.0, found["tflite"]["accuracy"])


def test_without_further_files_there_is_nothing_to_compare(exported):
    paths.FORMATS["onnx"].unlink()
    assert runtimes.figures_of_formats(np.zeros((0, 3)), DESCRIPTION, read_image_table().part("test")) == {}


def test_the_figures_of_a_file_are_those_of_its_probabilities():
    shipped = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]], np.float32)
    found = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.3, 0.7]], np.float32)
    figures = runtimes.compared(found, shipped, np.array([0, 1, 0, 1]))
    assert (figures["accuracy"], figures["agreement"], figures["largest_difference"]) == (0.75, 0.75, 0.2)


def test_an_onnx_file_that_is_broken_is_one_line(exported):
    paths.FORMATS["onnx"].write_bytes(b"no ONNX")
    with pytest.raises(GraftError, match=r"^models/formats/classifier\.onnx: not an ONNX file [^\n]+$"):
        runtimes.onnxruntime(paths.FORMATS["onnx"])


def test_graft_export_writes_onnx_and_tflite_from_the_exported_file_alone(exported, capsys):
    assert command(["export", "--format", "onnx"]) is None
    assert Path("exports/classifier.onnx").read_bytes() == paths.FORMATS["onnx"].read_bytes()
    assert command(["export", "--format", "tflite", "--output", "app/model.tflite"]) is None
    assert Path("app/model.tflite").read_bytes() == paths.CLASSIFIER.read_bytes()
    assert capsys.readouterr().out.count("models/labels.json") == 2


def test_an_unknown_format_is_refused_with_the_nearest(project):
    with pytest.raises(GraftError, match=r"^--format: no format is called 'kears'; did you mean 'keras'\?$"):
        command(["export", "--format", "kears"])


@pytest.mark.parametrize("name", ["onnx", "keras", "saved_model", "tflite_int8"])
def test_an_export_without_a_run_is_one_line(project, name):
    with pytest.raises(GraftError, match=r"^models/classifier\.tflite: no such file; `dvc repro` writes it[^\n]*$"):
        command(["export", "--format", name])


def test_a_keras_file_needs_the_suffix_that_keras_reads(project):
    with pytest.raises(GraftError, match=r"^--output: model\.h5 must end in \.keras"):
        command(["export", "--format", "keras", "--output", "model.h5"])


@pytest.mark.parametrize("name", ["tflite", "onnx", "tflite_int8", "keras"])
def test_no_folder_is_replaced_by_a_file(project, name):
    output = Path("photos").with_suffix(Path(FILES[name]).suffix)
    output.mkdir()
    (output / "1.jpg").touch()
    with pytest.raises(GraftError, match=rf"^--output {output}: a folder, which a file would replace; give the name"):
        command(["export", "--format", name, "--output", str(output)])
    assert (output / "1.jpg").exists()


def test_a_format_is_not_written_under_the_ending_of_another(project):
    with pytest.raises(GraftError, match=r"^--output: out/classifier\.tflite must end in \.onnx: other programs know"):
        command(["export", "--format", "onnx", "--output", "out/classifier.tflite"])


@pytest.mark.parametrize(
    ("name", "output"), [("onnx", "models/classifier.tflite"), ("tflite_int8", "./models/x.tflite")]
)
def test_nothing_is_exported_over_what_the_stages_write(project, name, output):
    Path("models").mkdir()
    with pytest.raises(GraftError, match=r"^--output: .*x?\.tflite: the stages write models; give a place outside"):
        command(["export", "--format", name, "--output", output])


def test_the_benchmark_reads_images_of_any_size_that_params_yaml_allows(exported):
    path = read_image_table().part("test").files()[0]
    Image.new("1", (8001, 8000)).save(path, "PNG")
    assert command(["benchmark", "--runtime", "litert"]) is None


def test_the_benchmark_prints_a_row_for_each_file_and_runtime_and_writes_them(exported, capsys):
    assert command(["benchmark", "--runtime", "onnxruntime", "--runtime", "litert"]) is None
    rows = json.loads(paths.BENCHMARK.read_text(encoding="utf-8"))["rows"]
    assert [(row["file"], row["runtime"]) for row in rows] == [
        ("classifier.tflite", "LiteRT"),
        ("classifier.onnx", "onnxruntime"),
    ]
    assert all(row["largest_difference"] <= 1e-5 and row["milliseconds"] > 0 for row in rows)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["file", "classifier.tflite", "classifier.onnx", "9"]


def test_mediapipe_agrees_on_grafts_crops_and_has_a_row_for_its_own_resizing(exported):
    command(["benchmark", "--runtime", "mediapipe"])
    rows = json.loads(paths.BENCHMARK.read_text(encoding="utf-8"))["rows"]
    assert [row["runtime"] for row in rows] == ["LiteRT", "MediaPipe, Graft's crops", "MediaPipe, own resizing"]
    assert rows[1]["largest_difference"] <= 1e-5 < rows[2]["largest_difference"]


def test_a_runtime_that_is_unknown_or_not_installed_or_has_no_file_is_one_line(exported, without):
    with pytest.raises(GraftError, match=r"^--runtime: no runtime is called 'onxruntime'; did you mean 'onnx"):
        command(["benchmark", "--runtime", "onxruntime"])
    paths.FORMATS["onnx"].unlink()
    with pytest.raises(GraftError, match=r"^onnxruntime: no models/formats/classifier\.onnx; add onnx to "):
        command(["benchmark", "--runtime", "onnxruntime"])
    without("mediapipe")
    with pytest.raises(GraftError, match=r"^mediapipe: not installed; run pip install [^\n]*'\.\[mediapipe\]'$"):
        command(["benchmark", "--runtime", "mediapipe"])


def test_onnx_is_not_imported_unless_asked_for(exported, run_python, project):
    code = (
        "import sys; from stages import evaluate; import graft.commands.export, graft.commands.benchmark; "
        "print([name for name in ('onnx', 'onnxruntime', 'mediapipe', 'tensorflow') if name in sys.modules])"
    )
    assert run_python("-c", code, folder=project.folder).stdout == "[]\n"


@pytest.mark.slow
def test_the_stages_write_every_format_and_graft_export_gives_the_same_answers(clone):
    """One long test, because the stages and Keras take seconds to start."""
    clone.set(export__formats=ALL)
    clone.run(sys.executable, "-m", "stages.export")
    files = {name: clone.path / path for name, path in paths.FORMATS.items()}
    before = {name: sha256_of(path) for name, path in files.items()}
    clone.run(sys.executable, "-m", "stages.export")
    assert {name: sha256_of(path) for name, path in files.items()} == before
    shipped = (clone.path / paths.CLASSIFIER).stat().st_size
    assert files["tflite_int8"].stat().st_size < files["tflite_float16"].stat().st_size < shipped
    for name, digest in before.items():
        clone.run(sys.executable, "-m", "graft", "export", "--format", name)
        assert sha256_of(clone.path / "exports" / files[name].name) == digest, name
    clone.run(sys.executable, "-m", "stages.evaluate")
    found = json.loads((clone.path / paths.FORMAT_METRICS).read_text(encoding="utf-8"))
    assert list(found) == ["tflite", *ALL]
    assert found["onnx"]["largest_difference"] <= 1e-5
    clone.run(sys.executable, "-m", "graft", "benchmark", "--runtime", "keras")
    rows = json.loads((clone.path / paths.BENCHMARK).read_text(encoding="utf-8"))["rows"]
    assert {row["runtime"]: row["largest_difference"] <= 1e-5 for row in rows}["Keras"]
    clone.set(export__formats=[])
    clone.run(sys.executable, "-m", "stages.export")
    assert [path.name for path in (clone.path / paths.FORMATS_FOLDER).iterdir()] == ["labels.json"]
