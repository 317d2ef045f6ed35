"""The page of graft report in a browser: on a phone and on a desk, light and dark, by mouse and by keyboard."""

import os
import shutil
from pathlib import Path

import pytest
import run_results
from split_files import write_split

from graft.__main__ import command
from graft.core import paths
from graft.core.files import write_json
from graft.images.table import read_image_table

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDTHS = (390, 1280)
NAMES = ["<b>blue</b>", "green", "red"]
# Of metrics/formats.json.
COLUMNS = ("bytes", "accuracy", "loss", "expected_calibration_error", "agreement", "largest_difference")
# A CI without a browser is set up wrongly.
pytestmark = pytest.mark.skipif(BROWSER is None and "CI" not in os.environ, reason="there is no Chromium or Chrome")


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    assert BROWSER, "there is no Chromium or Chrome"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def small_page(tmp_path_factory, write_image_folder):
    """A page about nine test images of three classes, one of them with HTML in its name; two are wrong."""
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("GIT_CEILING_DIRECTORIES", str(folder.parent))
        write_split(write_image_folder(folder / "photos"))
        run_results.write_features(read_image_table())
        test = read_image_table().part("test")
        run_results.write_judgement(test, run_results.probabilities(test.labels, 3, 2))
        run_results.write_training()
        write_json(paths.DATA_METRICS, run_results.data_metrics(suspects=9, exact_copy=3, dark=12))
        write_json(paths.UNKNOWN, run_results.LIMITS)
        write_json(paths.FORMAT_METRICS, {name: dict.fromkeys(COLUMNS, 0.123456) for name in ("tflite", "onnx")})
        Path("models").mkdir()
        Path("models/labels.json").write_text('{"labels": [], "display_names": {"blue": "<b>blue</b>"}}')
        assert not command(["report", "--output", "page.html"])
    return folder / "page.html"


@pytest.fixture(scope="module")
def large_page(tmp_path_factory):
    """A page about 10,000 test images of 102 classes."""
    folder = tmp_path_factory.mktemp("large")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("GIT_CEILING_DIRECTORIES", str(folder.parent))
        images = run_results.images_of([f"class {number:03d}" for number in range(102)], 10_000)
        run_results.write_judgement(images, run_results.probabilities(images.labels, 102, 3000))
        assert not command(["report", "--output", "page.html"])
    return folder / "page.html"


@pytest.fixture
def opened(browser):
    """Return a function that opens a page; afterwards no error must have been reported, and nothing fetched."""
    contexts, faults = [], []

    def open_page(path, width=1280, scheme="light"):
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, has_touch=width < 500
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: faults.append(request.url) if request.url.startswith("http") else None)
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_a_click_on_a_cell_shows_its_images_with_file_names(opened, small_page, width, scheme):
    page = opened(small_page, width, scheme)
    assert page.locator("#cell").is_hidden()
    page.locator("#matrix button.wrong").first.click()
    panel = page.locator("#cell")
    assert panel.locator("h3").inner_text() == "<b>blue</b>, taken for green: 2 images"
    assert panel.locator(".file").all_inner_texts() == ["blue/000.jpg", "blue/004.jpg"]
    assert panel.locator("img").evaluate_all("images => images.map(image => image.naturalWidth > 0)") == [True, True]


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_but_tables_scrolls_sideways(opened, small_page, large_page, width):
    for path in (small_page, large_page):
        page = opened(path, width)
        assert page.evaluate("document.documentElement.scrollWidth") == width


def test_no_line_ends_within_a_number(opened, small_page):
    page = opened(small_page, 390)
    broken = page.evaluate(
        """() => {
            const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
            while (walker.nextNode()) {
                const node = walker.currentNode;
                // Names of files and hashes may be longer than a line.
                if (node.parentElement.closest(".file, script, style, #made")) continue;
                for (const match of node.data.matchAll(/[\\d.,]*\\d([ \u00a0]%)?/g)) {
                    const range = document.createRange();
                    range.setStart(node, match.index);
                    range.setEnd(node, match.index + match[0].length);
                    const lines = new Set([...range.getClientRects()].map((box) => Math.round(box.top)));
                    if (lines.size > 1) found.push(node.data);
                }
            }
            return found;
        }"""
    )
    assert broken == []


def test_the_menu_has_room_for_every_section_on_a_desk(opened, small_page):
    page = opened(small_page)
    # A comparison has a section of its own.
    page.evaluate("document.querySelector('nav li').insertAdjacentHTML('afterend', '<li><a>Comparison</a></li>')")
    assert (
        page.evaluate("(({scrollWidth, clientWidth}) => scrollWidth - clientWidth)(document.querySelector('nav ul'))")
        == 0
    )


@pytest.mark.parametrize("width", WIDTHS)
def test_the_menu_names_the_section_that_is_read(opened, small_page, width):
    page = opened(small_page, width)
    for name in ("confidence", "confusion"):
        page.evaluate("name => document.getElementById(name).scrollIntoView({behavior: 'instant'})", name)
        current = page.locator(f"nav a[href='#{name}'][aria-current]")
        current.wait_for()
        page.wait_for_function(
            "link => { const box = link.getBoundingClientRect(); return box.left >= 0 && box.right <= innerWidth; }",
            arg=current.element_handle(),
        )
    assert page.locator("nav a[aria-current]").count() == 1


def test_light_and_dark_differ_and_text_has_contrast_in_both(opened, small_page):
    found = {}
    for scheme in ("light", "dark"):
        page = opened(small_page, scheme=scheme)
        found[scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
        for selector in ("body", ".note", ".lead", ".good", ".bad", "dt", "nav a", "#matrix button.full"):
            assert contrast(page, selector) >= 4.5, (scheme, selector)
    assert found["light"] != found["dark"]


def contrast(page, selector):
    """Return the contrast ratio of a text and what is behind it, from 1 to 21 (WCAG 2.1)."""
    colours = page.locator(selector).first.evaluate(
        """element => {
            const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
            const rgb = (colour) => {
                canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
                return [...canvas.getImageData(0, 0, 1, 1).data];
            };
            let behind = element;
            while (rgb(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
            return [rgb(getComputedStyle(element).color), rgb(getComputedStyle(behind).backgroundColor)];
        }"""
    )
    first, second = sorted(map(luminance, colours))
    return (second + 0.05) / (first + 0.05)


def luminance(rgba):
    parts = [value / 255 for value in rgba[:3]]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_cells_can_be_reached_and_opened_by_the_keyboard(opened, small_page):
    page = opened(small_page)
    focused = "document.activeElement.dataset.cell"
    page.locator("#matrix button[tabindex='0']").focus()
    assert page.evaluate(focused) == "0,0"
    for key, cell in (("ArrowRight", "0,1"), ("ArrowDown", "1,1"), ("ArrowDown", "2,2"), ("ArrowUp", "1,1")):
        page.keyboard.press(key)
        assert page.evaluate(focused) == cell
    page.keyboard.press("Enter")
    assert page.locator("#cell h3").inner_text() == "green, right: 3 images"
    assert page.locator("#matrix button[tabindex='0']").count() == 1


def test_a_commonest_mistake_opens_its_cell(opened, small_page):
    page = opened(small_page)
    chip = page.locator("[data-open]").first
    assert chip.inner_text() == "<b>blue</b> → green 2"
    chip.click()
    assert page.locator("#cell h3").inner_text() == "<b>blue</b>, taken for green: 2 images"


def test_counts_and_shares_take_turns_in_the_matrix(opened, small_page):
    page = opened(small_page)
    cell = page.locator("[data-cell='0,1']")
    assert cell.inner_text() == "2"
    page.get_by_role("button", name="share of the row").click()
    assert cell.inner_text() == "67%"


@pytest.mark.parametrize("width", WIDTHS)
def test_the_table_of_the_classes_is_sorted_by_a_click_and_backwards_by_another(opened, small_page, width):
    page = opened(small_page, width)
    heading = page.locator(".sortable thead button", has_text="recall")
    names = page.locator(".sortable tbody th")
    assert names.all_inner_texts() == NAMES
    heading.click()
    assert names.first.inner_text() == "<b>blue</b>"
    heading.click()
    assert names.last.inner_text() == "<b>blue</b>"
    assert page.locator(".sortable th[aria-sort='descending']").inner_text() == "recall"


@pytest.mark.parametrize("width", WIDTHS)
def test_a_click_on_an_image_shows_its_classes_by_probability_and_escape_closes(opened, small_page, width):
    page = opened(small_page, width)
    page.locator("#mistakes .card").first.click()
    dialog = page.locator("dialog")
    assert dialog.is_visible()
    assert dialog.locator("li").count() == 3
    assert "Its class: <b>blue</b>" in dialog.inner_text()
    assert dialog.locator("li.is").inner_text().startswith("<b>blue</b>")
    page.keyboard.press("Escape")
    assert dialog.is_hidden()


@pytest.mark.parametrize("width", WIDTHS)
def test_a_dot_of_the_map_shows_its_image_and_a_click_its_classes(opened, small_page, width):
    page = opened(small_page, width)
    dot = page.locator("#map circle.wrong").first
    dot.hover(force=True)
    tip = page.locator("#tip")
    assert "<b>blue</b>, taken for green" in tip.inner_text()
    assert tip.locator("img").evaluate("image => image.naturalWidth > 0")
    dot.click(force=True)
    assert page.locator("dialog").is_visible()


def test_the_legend_of_the_map_shows_one_class_alone_and_then_all_again(opened, small_page):
    page = opened(small_page)
    button = page.locator("#legend button", has_text="green")
    button.click()
    assert page.locator("#map circle:not(.off)").evaluate_all("dots => dots.map(dot => dot.dataset.c)") == ["1"] * 3
    button.click()
    assert page.locator("#map circle.off").count() == 0


@pytest.mark.parametrize("width", WIDTHS)
def test_every_picture_has_a_text_and_is_there(opened, small_page, width):
    page = opened(small_page, width)
    images = page.locator("img[data-i]").evaluate_all(
        "all => all.map(one => [one.alt.length > 0, one.naturalWidth > 0])"
    )
    assert images
    assert all(map(all, images))


def test_ten_thousand_test_images_of_a_hundred_classes_still_open(opened, large_page):
    page = opened(large_page)
    page.locator("#matrix button.wrong").first.click()
    assert page.locator("#cell .file").count() == 24
    assert page.locator("#cell h3").inner_text().endswith("24 of them, the surest first")
