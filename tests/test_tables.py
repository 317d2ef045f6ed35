"""metrics/predictions.csv and metrics/confusion_matrix.json: what stands in them, and how large they get."""

import json

import numpy as np
import pytest

from graft.core.files import read_rows
from graft.images.table import ImageTable
from graft.report.tables import write_confusion_matrix, write_predictions


def table(labels, classes):
    """Return test images of these labels and classes."""
    count = len(labels)
    paths = np.array([f"some_class/image_{number:05d}.jpg" for number in range(count)])
    nothing = np.full(count, "")
    return ImageTable(tuple(classes), paths, np.array(labels), np.full(count, "test"), nothing, nothing)


def random_probabilities(images, classes):
    logits = np.random.default_rng(0).normal(0, 3, (images, classes))
    exponentials = np.exp(logits)
    return (exponentials / exponentials.sum(axis=1, keepdims=True)).astype(np.float32)


def test_a_row_has_the_actual_class_and_the_five_most_probable_ones(tmp_path):
    shares = np.array([[0.04, 0.3, 0.1, 0.4, 0.01, 0.15]])
    write_predictions(tmp_path / "p.csv", table([4], "abcdef"), shares)
    assert (tmp_path / "p.csv").read_text().splitlines() == [
        "path,actual,predicted,p_actual,p_predicted,second,p_second,third,p_third,fourth,p_fourth,fifth,p_fifth",
        "some_class/image_00000.jpg,e,d,0.010000,0.400000,b,0.300000,f,0.150000,c,0.100000,a,0.040000",
    ]


@pytest.mark.parametrize(
    ("classes", "last"), [("ab", "p_second"), ("abc", "p_third"), ("abcde", "p_fifth"), ("abcdefgh", "p_fifth")]
)
def test_there_are_as_many_ranks_as_classes_but_at_most_five(tmp_path, classes, last):
    write_predictions(tmp_path / "p.csv", table([0, 1], classes), random_probabilities(2, len(classes)))
    columns = list(read_rows(tmp_path / "p.csv")[0])
    assert columns[-1] == last
    assert len(columns) == 3 + 2 * min(len(classes), 5)


def test_of_equally_probable_classes_the_first_is_listed_first(tmp_path):
    write_predictions(tmp_path / "p.csv", table([2], "abc"), np.array([[0.25, 0.5, 0.25]]))
    (row,) = read_rows(tmp_path / "p.csv")
    assert (row["predicted"], row["second"], row["third"]) == ("b", "a", "c")


def test_the_matrix_has_a_line_per_row_and_the_labels_once(tmp_path):
    write_confusion_matrix(tmp_path / "m.json", np.array([[5, 1], [0, 7]]), ["雏菊", 'a "b"'])
    text = (tmp_path / "m.json").read_text(encoding="utf-8")
    assert text == '{\n  "labels": ["雏菊", "a \\"b\\""],\n  "matrix": [\n    [5, 1],\n    [0, 7]\n  ]\n}\n'
    assert json.loads(text) == {"labels": ["雏菊", 'a "b"'], "matrix": [[5, 1], [0, 7]]}


def test_ten_thousand_images_of_a_hundred_classes_stay_small(tmp_path):
    images, classes = 10_000, 100
    names = [f"class_{number}" for number in range(classes)]
    labels = np.arange(images) % classes
    write_predictions(tmp_path / "p.csv", table(labels, names), random_probabilities(images, classes))
    write_confusion_matrix(tmp_path / "m.json", np.full((classes, classes), 100), names)
    # A probability for each class took 9.4 MB, and a number of the matrix per line 0.11 MB.
    assert (tmp_path / "p.csv").stat().st_size < 1.5e6
    assert (tmp_path / "m.json").stat().st_size < 0.06e6
