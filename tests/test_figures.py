"""Figures: PNG files, with the same bytes for the same numbers, and with any class names."""

import warnings

import numpy as np
import pytest
from PIL import Image

from graft.core.errors import GraftError
from graft.report import figures

MATRIX = np.array([[5, 1, 0], [0, 7, 2], [0, 0, 9]])
NAMES = ["blue", "green", "red"]


def opened(path):
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


@pytest.fixture
def misclassified(tmp_path, image_folder):
    """Return a function of the number of wrong predictions that draws the figure and returns its path."""
    paths = sorted(image_folder.rglob("*.*"))

    def draw(wrong, names=NAMES):
        labels = np.arange(len(paths)) % 3
        predicted = np.where(np.arange(len(paths)) < wrong, (labels + 1) % 3, labels)
        probabilities = np.full((len(paths), 3), 0.1)
        probabilities[np.arange(len(paths)), predicted] = 0.8
        figures.misclassified(tmp_path / "plots/wrong.png", paths, labels, probabilities, names)
        return tmp_path / "plots/wrong.png"

    return draw


def test_a_confusion_matrix_is_drawn(tmp_path):
    figures.confusion(tmp_path / "plots/confusion.png", MATRIX, NAMES)
    assert opened(tmp_path / "plots/confusion.png").std() > 0


def test_the_same_numbers_give_the_same_bytes(tmp_path, misclassified):
    pictures = []
    for name in ("1.png", "2.png"):
        figures.confusion(tmp_path / name, MATRIX, NAMES)
        pictures.append((tmp_path / name).read_bytes() + misclassified(5).read_bytes())
    assert pictures[0] == pictures[1]


def test_other_numbers_give_another_figure(tmp_path):
    figures.confusion(tmp_path / "1.png", MATRIX, NAMES)
    figures.confusion(tmp_path / "2.png", MATRIX.T, NAMES)
    assert (opened(tmp_path / "1.png") != opened(tmp_path / "2.png")).any()


@pytest.mark.parametrize("classes", [2, figures.MAX_LABELLED_CLASSES, 100])
def test_any_number_of_classes_can_be_drawn(tmp_path, classes):
    figures.confusion(tmp_path / "a.png", np.eye(classes, dtype=int), [f"class {n}" for n in range(classes)])
    height, width, _ = opened(tmp_path / "a.png").shape
    assert max(height, width) < 3000


def test_a_class_that_never_occurs_is_drawn_without_a_warning(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures.confusion(tmp_path / "a.png", np.array([[3, 0], [0, 0]]), ["a", "b"])


@pytest.mark.parametrize("wrong", [0, 1, figures.COLUMNS + 1])
def test_any_number_of_mistakes_can_be_drawn(misclassified, wrong):
    assert opened(misclassified(wrong)).std() > 0


@pytest.mark.parametrize("count", [1, 3, figures.MAX_IMAGES])
def test_any_number_of_predictions_can_be_drawn(tmp_path, image_folder, count):
    paths = sorted(image_folder.rglob("*.*"))[:count]
    figures.predictions(tmp_path / "a.png", paths, np.zeros(count, int), np.tile([0.9, 0.1], (count, 1)), ["a", "b"])
    assert opened(tmp_path / "a.png").std() > 0


def test_a_wrong_prediction_is_red_and_a_right_one_is_not(tmp_path, draw_picture):
    draw_picture((90, 90, 90), 1).convert("L").save(tmp_path / "grey.png")
    for name, shares in (("right", [0.9, 0.1]), ("wrong", [0.1, 0.9])):
        paths, labels = [tmp_path / "grey.png"], np.zeros(1, int)
        figures.predictions(tmp_path / f"{name}.png", paths, labels, np.array([shares]), ["a", "b"])
    reds = {name: opened(tmp_path / f"{name}.png").astype(int) for name in ("right", "wrong")}
    red = {name: (pixels[..., 0] - pixels[..., 1]).max() for name, pixels in reds.items()}
    assert red["wrong"] > 200
    assert red["right"] < 10


def test_no_more_mistakes_are_drawn_than_fit(misclassified):
    assert opened(misclassified(figures.MAX_IMAGES)).shape == opened(misclassified(figures.MAX_IMAGES + 5)).shape


def test_one_mistake_leaves_no_empty_space_beside_it(misclassified):
    one, several = (opened(misclassified(wrong)) for wrong in (1, figures.COLUMNS))
    assert one.shape[1] < 0.6 * several.shape[1]
    assert opened(misclassified(0)).shape[0] < one.shape[0] / 3


def test_a_single_mistake_of_a_thousand_images_can_be_seen_in_a_confusion_matrix(tmp_path):
    pixels = {}
    for wrong in (0, 1):
        # Without numbers, in cells of several pixels.
        matrix = np.diag(np.full(figures.MAX_LABELLED_CLASSES + 1, 1000))
        matrix[0, 9] = wrong
        figures.confusion(tmp_path / "a.png", matrix, list(map(str, range(len(matrix)))))
        pixels[wrong] = opened(tmp_path / "a.png").astype(int)
    # Below the title, which has the number.
    difference = np.abs(pixels[1] - pixels[0])[100:].max(axis=2)
    assert (difference > 30).sum() > 200


def test_the_file_name_is_under_each_picture(tmp_path, image_folder):
    (tmp_path / "x.png").write_bytes(next(image_folder.rglob("*.png")).read_bytes())
    (tmp_path / "yyyyyyyy.png").write_bytes(next(image_folder.rglob("*.png")).read_bytes())
    for name in ("x", "yyyyyyyy"):
        paths, shares = [tmp_path / f"{name}.png"], np.array([[0.9, 0.1]])
        figures.predictions(tmp_path / f"{name}-drawn.png", paths, np.zeros(1, int), shares, ["a", "b"])
    first, second = (opened(tmp_path / f"{name}-drawn.png") for name in ("x", "yyyyyyyy"))
    assert first.shape == second.shape
    rows = np.flatnonzero((first != second).any(axis=(1, 2)))
    assert rows.min() > 0.75 * len(first)


def test_learning_curves_are_drawn_with_the_head_as_a_line(tmp_path):
    columns = {
        "epoch": [1, 2],
        "loss": [2, 1],
        "val_loss": [1, 0.5],
        "accuracy": [0.5, 0.6],
        "val_accuracy": [0.7, 0.9],
    }
    for name, loss in (("1.png", 0.4), ("2.png", 0.9)):
        figures.learning_curves(tmp_path / name, columns, {"accuracy": 0.8, "loss": loss})
    assert (opened(tmp_path / "1.png") != opened(tmp_path / "2.png")).any()


def test_the_most_confident_mistakes_are_drawn_first(tmp_path, image_folder):
    paths = sorted(image_folder.rglob("*.*"))[:20]
    labels, probabilities = np.zeros(20, int), np.tile([0.4, 0.6], (20, 1))
    sure = probabilities.copy()
    sure[-1] = [0.01, 0.99]
    figures.misclassified(tmp_path / "1.png", paths, labels, probabilities, ["a", "b"])
    figures.misclassified(tmp_path / "2.png", paths, labels, sure, ["a", "b"])
    # The last of the 20 becomes one of the 12 that are drawn.
    assert (opened(tmp_path / "1.png") != opened(tmp_path / "2.png")).any()


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize("name", [r"$\broken$", "雏菊 {} % a_b^c"])
def test_class_names_are_never_read_as_formulas(tmp_path, misclassified, name):
    figures.confusion(tmp_path / "a.png", np.eye(3, dtype=int), [name, "b", "c"])
    misclassified(3, [name, "b", "c"])


def test_a_missing_image_is_one_line_and_leaves_the_earlier_figure(tmp_path, misclassified):
    path = misclassified(1)
    before = path.read_bytes()
    with pytest.raises(GraftError, match=r"none\.jpg: cannot be read"):
        figures.misclassified(path, [tmp_path / "none.jpg"], np.array([0]), np.array([[0.1, 0.9]]), ["a", "b"])
    assert path.read_bytes() == before
