"""docs/deploy.md: the snippets for Python, Node and browsers run, and give the probabilities of Graft's own loader."""

import functools
import http.server
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from graft.activations.litert import Network
from graft.core.files import read_json, read_rows, write_json
from graft.images import loader
from graft.serving.classifier import Classifier
from graft.serving.metadata import class_probabilities, with_metadata
from graft.serving.onnx_file import to_onnx

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/deploy.md").read_text(encoding="utf-8")
WEB = ROOT / "tests/web"
# Each snippet says in its first line which file it is.
SNIPPETS = {
    re.search(r"[\w.]+\.\w+", block.splitlines()[0])[0]: block
    for block in re.findall(r"^```(?:python|js|html|kotlin|swift)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
}
LABELS = ["blue", "green", "red"]
DESCRIPTION = {"labels": LABELS, "image_size": 16, "resize": "crop", "crops": 2, "display_names": {"red": "rouge"}}
# In JavaScript a pixel of a high image can differ by one level of 255; a wrong crop changes a probability by far more.
ONE_LEVEL = 4e-3


@pytest.fixture(scope="module")
def folder(compiled, tmp_path_factory):
    """A folder with the snippets, the exported files and three images: wide, high, and of the network's own size."""
    folder = tmp_path_factory.mktemp("deploy")
    for name, snippet in SNIPPETS.items():
        (folder / name).write_text(snippet, encoding="utf-8")
    (folder / "models/formats").mkdir(parents=True)
    outputs = [class_probabilities(DESCRIPTION)]
    network = with_metadata(compiled.classifier.read_bytes(), DESCRIPTION, outputs)
    (folder / "models/classifier.tflite").write_bytes(network)
    (folder / "models/formats/classifier.onnx").write_bytes(to_onnx(network, DESCRIPTION))
    write_json(folder / "models/labels.json", DESCRIPTION)
    for name, size in (("wide.png", (90, 31)), ("high.png", (40, 61)), ("same.png", (16, 16))):
        picture(*size).save(folder / name)
    return folder


def picture(width, height):
    """Return a picture from blue to red along its longer side, with noise: each crop has its own probabilities."""
    pixels = np.random.default_rng(width).integers(0, 60, (height, width, 3))
    along = np.linspace(0, 180, max(width, height)).astype(int)
    pixels[..., 0] += along if width >= height else along[:, np.newaxis]
    pixels[..., 2] += along[::-1] if width >= height else along[::-1, np.newaxis]
    return Image.fromarray(pixels.astype(np.uint8))


IMAGES = {"wide.png": 2e-6, "high.png": ONE_LEVEL, "same.png": 2e-6}


def expected_of(folder, name):
    return Classifier(folder / "models/classifier.tflite", folder / "models/labels.json").probabilities(folder / name)


def answers(command, folder):
    """Run a snippet on all images; return the likeliest class and its probability of each."""
    run = subprocess.run(
        [*command, *IMAGES],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    lines = [line.split() for line in run.stdout.splitlines()]
    return {name: (label, float(probability)) for name, label, probability in lines}


def test_every_code_block_of_the_page_names_its_file():
    assert len(SNIPPETS) == PAGE.count("\n```") / 2
    assert {Path(name).suffix for name in SNIPPETS} == {".py", ".mjs", ".html", ".kt", ".swift"}


def test_a_wrong_crop_would_be_seen(folder):
    for name in ("wide.png", "high.png"):
        crops = Classifier(folder / "models/classifier.tflite", folder / "models/labels.json").crop_probabilities(
            folder / name
        )
        assert np.abs(crops[0] - crops[1]).max() > 10 * ONE_LEVEL


@pytest.mark.parametrize("script", ["with_graft.py", "classify.py", "classify_onnx.py"])
def test_the_python_snippets_give_the_probabilities_of_the_loader(folder, script):
    found = answers([sys.executable, script], folder)
    for name in IMAGES:
        expected, label = expected_of(folder, name), found[name][0].replace("rouge", "red")
        assert label == LABELS[expected.argmax()]
        assert found[name][1] == pytest.approx(expected.max(), abs=1e-5)


@pytest.fixture(scope="module")
def snippet_crops(folder):
    spec = importlib.util.spec_from_file_location("graft_image", folder / "graft_image.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.crops


@pytest.mark.parametrize("resize", list(loader.RESIZERS))
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK"])
def test_the_python_snippet_prepares_an_image_as_the_loader_does(snippet_crops, tmp_path, resize, mode):
    path = tmp_path / ("picture.jpg" if mode in ("CMYK", "L") else "picture.png")
    image = picture(90, 31).convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    exif = Image.Exif()
    exif[274] = 6
    image.save(path, exif=exif)
    found = snippet_crops(path, DESCRIPTION | {"resize": resize, "crops": 3})
    expected = loader.load_crops(path, 16, resize, 3)
    np.testing.assert_array_equal(np.concatenate(found), np.stack(expected))


@pytest.fixture
def client(folder, monkeypatch):
    from fastapi.testclient import TestClient

    monkeypatch.chdir(folder)
    spec = importlib.util.spec_from_file_location("server", folder / "server.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return TestClient(module.app)


def test_the_server_answers_with_the_probability_of_each_class(client, folder):
    for name in IMAGES:
        answer = client.post("/predict", files={"image": (folder / name).read_bytes()})
        assert answer.status_code == 200
        assert answer.json() == pytest.approx(dict(zip(LABELS, expected_of(folder, name).tolist(), strict=True)))


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (b"no image", 400, "not a readable image"),
        (b"", 400, "not a readable image"),
        (bytes(20_000_001), 413, "the image has more than 20 MB"),
    ],
)
def test_the_server_refuses_what_is_no_image(client, content, status, message):
    answer = client.post("/predict", files={"image": ("name.png", content)})
    assert (answer.status_code, answer.json()) == (status, {"detail": message})


def required(program):
    """Return the path of a program; skip the test if it is missing, but not in CI."""
    if not (path := shutil.which(program)):
        if os.environ.get("CI"):
            pytest.fail(f"CI has no {program}")
        pytest.skip(f"no {program}")
    return path


@pytest.fixture(scope="module")
def web_folder(folder):
    """The folder with the packages of tests/web, installed as its lock file says."""
    npm = required("npm")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(WEB / name, folder)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    installed = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    assert installed.returncode == 0, installed.stderr
    return folder


def test_the_page_names_the_versions_that_the_tests_install():
    packages = json.loads((WEB / "package.json").read_text(encoding="utf-8"))["dependencies"]
    named = re.findall(r"[ `]((?:@\w+/)?[\w-]+)@(\d[\d.]*\d)", PAGE)
    assert dict(named) == packages


@pytest.mark.slow
def test_the_node_snippet_gives_the_probabilities_of_the_loader(web_folder):
    found = answers([required("node"), "classify.mjs"], web_folder)
    for name, tolerance in IMAGES.items():
        expected, label = expected_of(web_folder, name), found[name][0].replace("rouge", "red")
        assert label == LABELS[expected.argmax()]
        assert found[name][1] == pytest.approx(expected.max(), abs=tolerance)


ALL_PROBABILITIES = """\
import { readFileSync } from "node:fs";
import * as ort from "onnxruntime-web";
// Several threads wait for each other on a busy machine.
ort.env.wasm.numThreads = 1;
const [network, crops, size] = process.argv.slice(2);
const session = await ort.InferenceSession.create(readFileSync(network));
const bytes = readFileSync(crops), shape = [1, +size, +size, 3], each = 3 * size * size, found = [];
for (let start = 0; start < bytes.length; start += each) {
  const image = new ort.Tensor("uint8", new Uint8Array(bytes.subarray(start, start + each)), shape);
  found.push(Array.from((await session.run({ image })).probabilities.data));
}
console.log(JSON.stringify(found));
"""


def largest_difference_in_node(web_folder, project):
    """Return the largest difference of a probability between onnxruntime-web and LiteRT, on a project's test part."""
    description = read_json(project / "models/labels.json")
    network = project / "models/classifier.tflite"
    files = [
        project / "data/raw" / row["path"] for row in read_rows(project / "data/split.csv") if row["split"] == "test"
    ]
    size, resize, count = description["image_size"], description["resize"], description["crops"]
    crops = [crop for file in files for crop in loader.load_crops(file, size, resize, count)]
    (web_folder / "all.mjs").write_text(ALL_PROBABILITIES, encoding="utf-8")
    (web_folder / "all.onnx").write_bytes(to_onnx(network.read_bytes(), description))
    (web_folder / "crops.bin").write_bytes(np.stack(crops).tobytes())
    command = [required("node"), "all.mjs", "all.onnx", "crops.bin", str(size)]
    run = subprocess.run(command, cwd=web_folder, capture_output=True, text=True, check=True, timeout=300)
    litert = Network(network)
    return np.abs(np.array(json.loads(run.stdout)) - np.stack([litert(crop)[0] for crop in crops])).max()


@pytest.mark.slow
def test_onnxruntime_web_gives_the_probabilities_of_litert_on_the_whole_test_part(web_folder, finished):
    assert largest_difference_in_node(web_folder, finished.path) <= 1e-5


PREPARE = """\
import { readFileSync } from "node:fs";
import { prepare } from "./graft.mjs";
const jobs = JSON.parse(readFileSync(0, "utf8"));
const crops = ({ image, description }) => prepare(image, description).map(({ data }) => Array.from(data));
console.log(JSON.stringify(jobs.map(crops)));
"""


def test_the_javascript_prepares_an_image_as_the_loader_does_and_a_high_one_to_one_level(folder):
    (folder / "prepare.mjs").write_text(PREPARE, encoding="utf-8")
    jobs, expected = [], []
    for width, height in ((40, 30), (31, 90), (16, 16), (9, 14), (150, 37), (17, 3)):
        image = picture(width, height)
        for resize in loader.RESIZERS:
            for count in (1, 2, 3):
                pixels = {"width": width, "height": height, "data": np.asarray(image).ravel().tolist()}
                description = {"image_size": 16, "resize": resize, "crops": count}
                jobs.append({"image": pixels, "description": description})
                expected.append([np.asarray(crop, int).ravel() for crop in loader.crops(image, 16, resize, count)])
    command = [required("node"), "prepare.mjs"]
    run = subprocess.run(
        command, cwd=folder, input=json.dumps(jobs), capture_output=True, text=True, check=True, timeout=60
    )
    for job, found, wanted in zip(jobs, json.loads(run.stdout), expected, strict=True):
        assert np.shape(found) == np.shape(wanted), job["description"]
        image = job["image"]
        levels = int(image["height"] > image["width"])
        assert np.abs(np.array(found) - wanted).max() <= levels, (image["width"], image["height"], job["description"])


@pytest.fixture(scope="module")
def address(web_folder):
    """The address of a web server of the folder."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=web_folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=required("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.slow
@pytest.mark.parametrize("page_name", ["index.html", "litert.html"])
def test_the_pages_give_the_probabilities_of_the_loader(address, browser, web_folder, page_name):
    page = browser.new_page()
    faults, elsewhere = [], []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "request",
        lambda request: None if request.url.startswith((address, "blob:", "data:")) else elsewhere.append(request.url),
    )
    page.goto(f"{address}/{page_name}")
    page.wait_for_function("document.querySelector('input').onchange !== null", timeout=60_000)
    for name, tolerance in IMAGES.items():
        page.evaluate("document.querySelector('ol').replaceChildren()")
        page.set_input_files("input", web_folder / name)
        page.wait_for_selector("li", timeout=60_000)
        lines = [line.split() for line in page.locator("li").all_inner_texts()]
        found = {label.replace("rouge", "red"): float(probability) for label, probability in lines}
        expected = dict(zip(LABELS, expected_of(web_folder, name).tolist(), strict=True))
        assert found == pytest.approx(expected, abs=tolerance)
    assert (faults, elsewhere) == ([], [])
    page.close()
