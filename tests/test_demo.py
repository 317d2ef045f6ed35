"""`graft demo`: a page on this machine that names photos, and refuses in one line what is none."""

import asyncio
import base64
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from graft.__main__ import command
from graft.commands import demo, demo_answer, demo_app
from graft.core.errors import GraftError
from graft.core.files import write_json
from graft.images import loader

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = "/usr/bin/chromium"
LABELS = ["blue", "green", "red"]
DESCRIPTION = {"labels": LABELS, "image_size": 16, "resize": "crop", "crops": 2, "display_names": {"red": "Rot <b>"}}
MIB = 1 << 20


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory, compiled):
    """A folder with the classifier of blue, green and red pictures."""
    folder = tmp_path_factory.mktemp("model")
    shutil.copy(compiled.classifier, folder / "classifier.tflite")
    write_json(folder / "labels.json", DESCRIPTION)
    return folder


def start(*arguments):
    """Start the command; return the process and the address that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-m", "graft", "demo", *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    return process, process.stdout.readline().partition(" ")[0]


@pytest.fixture(scope="module")
def server(model_folder):
    """The running page: its address and its process."""
    process, address = start("--model", model_folder, "--port", 0)
    yield address, psutil.Process(process.pid)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    # Whatever the tests have sent, nothing was printed.
    assert (process.stdout.read(), process.stderr.read()) == ("", "")


def photo(draw_picture, encode, colour=(200, 50, 40), size=(96, 64), suffix=".jpg"):
    return encode(draw_picture(colour, 1, max(size)).crop((0, 0, *size)), suffix)


@pytest.fixture
def red(draw_picture, encode):
    """The bytes of a red photograph of 96 x 64 pixels."""
    return photo(draw_picture, encode)


def send(server, content, **options):
    return httpx.post(f"{server[0]}/predict", content=content, timeout=60, **options)


def image_of(url):
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))


def png_bomb(side):
    """A PNG of so many black pixels on each side, of a few bytes."""
    buffer = io.BytesIO()
    Image.new("1", (side, side)).save(buffer, "png", optimize=True)
    return buffer.getvalue()


# Answers.


def test_an_image_is_answered_by_classes_bars_picture_and_maps(server, red):
    answer = send(server, red).json()
    first = answer["classes"][0]
    assert (first["label"], first["name"], first["in_set"]) == ("red", "Rot <b>", False)
    assert sum(one["probability"] for one in answer["classes"]) == pytest.approx(1, abs=1e-5)
    assert (answer["prediction_set"], answer["none_of_these"]) == (None, None)
    assert image_of(answer["picture"]).size == (96, 64)
    for one in answer["classes"]:
        with image_of(one["map"]) as shown:
            assert (shown.size, shown.mode) == ((96, 64), "L")


def test_the_probabilities_are_those_of_predict(server, red, model_folder, tmp_path, capsys):
    (tmp_path / "red.jpg").write_bytes(red)
    command(["predict", "--csv", "--model", str(model_folder), str(tmp_path / "red.jpg")])
    printed = [line.split(",")[4] for line in capsys.readouterr().out.splitlines()[1:]]
    assert [f"{one['probability']:g}" for one in send(server, red).json()["classes"]] == printed


def test_the_map_is_bright_where_the_class_is(server, encode):
    picture = Image.new("RGB", (192, 128), (40, 40, 40))
    picture.paste((230, 30, 30), (120, 20, 150, 50))
    found = {one["label"]: one["map"] for one in send(server, encode(picture, ".png")).json()["classes"]}
    shares = np.asarray(image_of(found["red"]), int)
    assert shares[30:40, 130:140].min() > 230
    assert shares[80:, :100].max() < 30


@pytest.mark.parametrize("size", [(96, 64), (64, 96), (64, 64), (65, 64), (300, 20), (20, 300), (1, 400)])
@pytest.mark.parametrize("resize", ["crop", "pad", "squash", "crop_or_pad"])
@pytest.mark.parametrize("crops", [1, 3])
def test_images_of_every_shape_have_a_map_of_their_shape(tmp_path, compiled, size, resize, crops):
    shutil.copy(compiled.classifier, tmp_path / "classifier.tflite")
    write_json(tmp_path / "labels.json", DESCRIPTION | {"resize": resize, "crops": crops})
    Image.new("RGB", size, (200, 50, 40)).save(tmp_path / "a.png")
    answer = demo_answer.Demo(tmp_path).answer(tmp_path / "a.png")
    shown, picture = image_of(answer["classes"][0]["map"]), image_of(answer["picture"])
    # By one pixel of the map at most.
    assert abs(shown.width * picture.height - shown.height * picture.width) <= max(picture.size)


@pytest.mark.parametrize("size", [(120, 80), (80, 120), (300, 80), (80, 80), (120, 119)])
@pytest.mark.parametrize(("resize", "count"), [("crop", 1), ("crop", 2), ("crop", 5), ("squash", 2), ("pad", 2)])
def test_the_boxes_are_the_places_of_the_loader_s_crops(size, resize, count):
    """An image whose colours are its coordinates shows where a crop comes from."""
    across, down = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    image = Image.fromarray(np.dstack([across * 0.8, down * 0.8, down * 0 + 255]).astype(np.uint8))
    crops = loader.crops(image, 60, resize, count)
    boxes = demo_answer.crop_boxes(*size, resize, len(crops))
    assert len(boxes) == len(crops)
    for crop, (left, upper, right, lower) in zip(crops, boxes, strict=True):
        x, y, inside = (np.asarray(crop, float)[:, :, channel] for channel in range(3))
        wanted_x = left + (np.arange(60) + 0.5) * (right - left) / 60
        wanted_y = upper + (np.arange(60) + 0.5) * (lower - upper) / 60
        seen = inside == 255
        assert abs(x / 0.8 - wanted_x[np.newaxis])[seen].max() < 4
        assert abs(y / 0.8 - wanted_y[:, np.newaxis])[seen].max() < 4


def test_a_network_without_maps_still_answers(tmp_path, model_folder, monkeypatch):
    monkeypatch.setattr(demo_answer.class_activation, "open_network", lambda path: None)
    Image.new("RGB", (20, 30), (200, 50, 40)).save(tmp_path / "a.png")
    found = demo_answer.Demo(model_folder)
    assert found.description["maps"] is False
    assert [one["map"] for one in found.answer(tmp_path / "a.png")["classes"]] == [None] * 3


# What is refused.


@pytest.mark.parametrize(
    ("content", "status", "line"),
    [
        (b"no image", 415, r"this file: not a readable image \(damaged, or none of JPEG, .*\)"),
        (b"", 400, "the request has no image; send the bytes of an image file"),
        (b"\xff\xd8\xff" + b"x" * 999, 415, r"this file: not a readable image \(.*\)"),
        (b"x" * 20_000_001, 413, "the file is larger than 20 MB; send a smaller one"),
    ],
    ids=["text", "empty", "damaged", "too large"],
)
def test_what_is_no_image_is_answered_by_one_line(server, content, status, line):
    answer = send(server, content)
    assert answer.status_code == status
    assert re.fullmatch(line + "\n", answer.text)


def test_a_bomb_is_answered_by_one_line_with_the_limit(server):
    answer = send(server, png_bomb(20_000))
    assert (answer.status_code, answer.text.count("\n")) == (415, 1)
    assert "400,000,000 pixels, above the limit of 64,000,000" in answer.text


def test_a_stream_without_a_length_ends_at_the_limit(server):
    answer = send(server, (b"x" * 1_000_000 for _ in range(30)))
    assert (answer.status_code, answer.text) == (413, "the file is larger than 20 MB; send a smaller one\n")


def test_a_client_that_leaves_early_is_no_error(server, red):
    host, port = server[0].removeprefix("http://").split(":")
    for _ in range(10):
        with socket.create_connection((host, int(port))) as client:
            client.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\nabc")
    assert send(server, red).status_code == 200


@pytest.mark.parametrize("name", ["evil.example", "evil.example:80", "localhost.evil.example", "", "[::1", "a b"])
def test_another_name_for_this_machine_is_refused(server, name):
    answer = httpx.get(server[0] + "/model", headers={"Host": name})
    assert answer.status_code in (400, 421)
    assert "names" not in answer.text


@pytest.mark.parametrize(
    "name", ["localhost", "localhost:99", "LOCALHOST", "127.0.0.1:8000", "[::1]:8000", "192.168.1.9"]
)
def test_addresses_and_the_names_of_this_machine_are_taken(name):
    assert demo_app.is_allowed_host(name, "127.0.0.1")
    assert demo_app.is_allowed_host("photos.lan:80", "photos.lan")


def test_a_page_of_another_site_cannot_send_images(server, red):
    for origin in ("https://evil.example", "http://[", "null"):
        answer = send(server, red, headers={"Origin": origin})
        assert (answer.status_code, answer.text) == (403, "another site's page must not send images here\n")
    assert send(server, red, headers={"Origin": server[0]}).status_code == 200


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/../labels.json", "/demo_page/demo.html", "/labels.json"])
def test_nothing_else_is_served(server, path):
    assert httpx.get(server[0] + path).status_code == 404


# Many at once.


def test_fifty_requests_at_once_are_all_answered_in_bounded_memory(server, draw_picture, encode, red):
    large = photo(draw_picture, encode, size=(3000, 2000))
    kinds = [(red, 200), (large, 200), (b"garbage" * 1000, 415), (png_bomb(30_000), 415), (b"x" * 20_000_001, 413)]
    send(server, large)
    before, peak, done = server[1].memory_info().rss, [0], threading.Event()

    def watch():
        while not done.wait(0.02):
            peak[0] = max(peak[0], server[1].memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(50) as clients:
        answers = list(clients.map(lambda number: send(server, kinds[number % 5][0]), range(50)))
    done.set()
    watcher.join()
    assert [answer.status_code for answer in answers] == [kinds[number % 5][1] for number in range(50)]
    assert all(answer.text.count("\n") == 1 for answer in answers if answer.status_code != 200)
    assert peak[0] - before < 250 * MIB


@pytest.fixture
def slow_uploads(server):
    """Twenty clients that have sent half of their request, and send no more until the test ends."""
    host, port = server[0].removeprefix("http://").split(":")
    clients = [socket.create_connection((host, int(port))) for _ in range(20)]
    for client in clients:
        client.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\nabc")
    yield clients
    for client in clients:
        client.close()


def test_slow_uploads_keep_nobody_waiting(server, slow_uploads, red):
    for _ in range(3):
        assert httpx.post(f"{server[0]}/predict", content=red, timeout=20).status_code == 200


def test_an_upload_that_takes_too_long_is_answered_by_one_line(model_folder, monkeypatch):
    monkeypatch.setattr(demo_app, "UPLOAD_SECONDS", 0.2)
    app = demo_app.make_app(demo_answer.Demo(model_folder), "127.0.0.1")

    async def slow():
        yield b"abc"
        await asyncio.sleep(60)

    async def upload():
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.post("/predict", content=slow())

    start = time.monotonic()
    answer = asyncio.run(upload())
    assert (answer.status_code, time.monotonic() - start < 20) == (408, True)
    assert answer.text == "the file did not come within 0.2 seconds; send it again\n"


def test_nothing_that_was_sent_is_kept(server, red):
    send(server, red)
    send(server, b"no image")
    assert not [file for file in server[1].open_files() if "graft-demo-" in file.path]


# Start and end.


def test_ctrl_c_ends_it_quietly_while_a_browser_is_connected(model_folder):
    process, address = start("--model", model_folder, "--port", 0)
    with httpx.Client() as browser:
        assert browser.get(address).status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert (process.stdout.read(), process.stderr.read()) == ("", "")


def test_it_listens_on_this_machine_alone(server):
    addresses = {connection.laddr.ip for connection in server[1].net_connections() if connection.status == "LISTEN"}
    assert addresses == {"127.0.0.1"}


def test_a_port_in_use_is_one_line(model_folder, server):
    port = server[0].rpartition(":")[2]
    with pytest.raises(GraftError, match=f"^--port {port}: another program uses it; try --port {int(port) + 1}$"):
        command(["demo", "--model", str(model_folder), "--port", port])


def test_who_connects_at_once_waits_and_a_second_demo_finds_the_port_in_use():
    with demo.listening("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        with pytest.raises(GraftError, match=f"^--port {port}: another program uses it"):
            demo.listening("127.0.0.1", port)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "300.1.1.1", "a" * 70])
def test_an_unknown_host_is_one_line(model_folder, host):
    with pytest.raises(GraftError, match=f"^--host {host}: [^\n]*; 127.0.0.1 is this machine$"):
        command(["demo", "--model", str(model_folder), "--host", host])


@pytest.mark.parametrize("port", ["-1", "65536", "http"])
def test_an_impossible_port_is_refused(port, capsys):
    assert command(["demo", f"--port={port}"]) == 2
    assert f"{port} is not a whole number from 0 to 65535" in capsys.readouterr().err


def test_without_the_packages_the_line_has_the_command_that_installs_them(monkeypatch):
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    with pytest.raises(GraftError) as caught:
        command(["demo"])
    assert str(caught.value) == (
        "graft demo needs fastapi and uvicorn; run pip install -c constraints.txt fastapi uvicorn"
    )


def test_without_a_model_it_is_one_line(project):
    with pytest.raises(GraftError, match=r"^models/classifier\.tflite: no such file; `dvc repro` writes it"):
        command(["demo"])


def test_files_of_two_exports_are_found_at_the_start(tmp_path, compiled):
    shutil.copy(compiled.classifier, tmp_path / "classifier.tflite")
    write_json(tmp_path / "labels.json", DESCRIPTION | {"labels": ["blue", "red"]})
    with pytest.raises(GraftError, match="it has 2 labels, but .* gives 3 probabilities"):
        command(["demo", "--model", str(tmp_path), "--port", "0"])


# The page, in a browser.


@pytest.fixture(scope="module")
def browser():
    if not Path(CHROMIUM).exists():
        pytest.skip("chromium is not installed")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as tool:
        flags = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        started = tool.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield started
        started.close()


@pytest.fixture
def page(browser, server):
    """The open page; the test fails if the page logs an error or asks another server."""
    context = browser.new_context(permissions=["camera"], viewport={"width": 390, "height": 844})
    opened, faults = context.new_page(), []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on(
        "request", lambda one: faults.append(one.url) if not one.url.startswith((server[0], "data:", "blob:")) else None
    )
    opened.goto(server[0])
    opened.wait_for_selector("#classes:not(:empty)")
    yield opened
    context.close()
    assert faults == []


def choose(page, content, name="photo.jpg"):
    page.set_input_files("#file", {"name": name, "mimeType": "image/jpeg", "buffer": content})


def test_the_page_names_the_classes_and_the_limit(page):
    assert page.inner_text("#classes") == "This model knows blue, green, Rot <b>."
    assert page.inner_text("#limits") == "Up to 20 MB. It stays on this machine."


def test_a_chosen_photo_is_shown_with_bars_and_the_map(page, red):
    choose(page, red)
    page.wait_for_selector("#bars li")
    # The name is text, not HTML.
    assert page.inner_text("#verdict") == "Rot <b>"
    assert page.locator("#bars .name").all_inner_texts()[0] == "Rot <b>"
    widths = [bar.bounding_box()["width"] for bar in page.locator("#bars .fill").all()]
    assert widths == sorted(widths, reverse=True)
    photo_box, map_box = (page.locator(name).bounding_box() for name in ("#photo", "#map"))
    assert photo_box == map_box
    page.uncheck("#show")
    assert page.locator("#map").is_hidden()


def test_another_class_shows_its_own_map(page, red):
    choose(page, red)
    page.wait_for_selector("#bars li")
    first = page.get_attribute("#map", "src")
    page.locator("#bars button").nth(1).click()
    assert page.get_attribute("#map", "src") != first
    assert page.locator("#bars button").nth(1).get_attribute("aria-pressed") == "true"


def test_a_file_that_is_no_image_gives_its_line_and_the_next_photo_works(page, red):
    choose(page, b"no image")
    page.wait_for_selector("#status.error")
    assert page.inner_text("#status").startswith("this file: not a readable image (")
    choose(page, red)
    page.wait_for_selector("#bars li")
    assert page.inner_text("#status") == ""


# Of some bytes more than a photo of the tests has; to hand over 20 MB takes the browser seconds.
LIMIT = 20_000


@pytest.mark.parametrize("content", [b"no image", b"x" * (LIMIT + 1)], ids=["no image", "too large"])
def test_an_error_takes_the_answer_of_the_photo_before_away(page, red, content):
    page.evaluate(f"model.max_upload = {LIMIT}")
    choose(page, red)
    page.wait_for_selector("#bars li")
    choose(page, content)
    page.wait_for_selector("#status.error")
    assert page.locator("#result").is_hidden()
    choose(page, red)
    page.wait_for_selector("#result:not([hidden])")
    assert (page.inner_text("#status"), page.inner_text("#verdict")) == ("", "Rot <b>")


def test_an_answer_that_comes_after_a_later_photo_failed_is_not_shown(page, red):
    waiting = []

    def hold(route):
        waiting.append(route)

    page.route("**/predict", hold)
    with page.expect_request("**/predict"):
        choose(page, red)
    page.evaluate(f"model.max_upload = {LIMIT}")
    choose(page, b"x" * (LIMIT + 1))
    page.wait_for_selector("#status.error")
    with page.expect_response("**/predict"):
        waiting[0].continue_()
    page.wait_for_timeout(300)
    assert page.locator("#result").is_hidden()
    assert page.inner_text("#status") == "This file is larger than 0.02 MB; choose a smaller one."
    assert "busy" not in page.evaluate("document.body.className")


def test_a_file_that_is_too_large_is_not_sent(page):
    choose(page, b"x" * 20_000_001)
    page.wait_for_selector("#status.error")
    assert page.inner_text("#status") == "This file is larger than 20 MB; choose a smaller one."


def test_a_dropped_photo_is_classified(page, red):
    transfer = page.evaluate_handle(
        "text => { const data = new DataTransfer(); const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0));"
        "data.items.add(new File([bytes], 'a.jpg', {type: 'image/jpeg'})); return data; }",
        base64.b64encode(red).decode(),
    )
    page.dispatch_event("#input", "drop", {"dataTransfer": transfer})
    page.wait_for_selector("#bars li")
    assert page.inner_text("#verdict") == "Rot <b>"


def test_the_camera_takes_a_photo(page):
    page.click("#camera")
    page.wait_for_selector("#live:not([hidden])")
    deadline = time.monotonic() + 20
    while page.locator("#bars li").count() == 0 and time.monotonic() < deadline:
        if page.locator("#take").is_visible():
            page.click("#take")
        page.wait_for_timeout(200)
    # The browser's test picture is green.
    assert page.inner_text("#verdict") == "green"
    assert page.locator("#live").is_hidden()


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_is_wider_than_the_window(page, red, width):
    page.set_viewport_size({"width": width, "height": 800})
    choose(page, red)
    page.wait_for_selector("#bars li")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
