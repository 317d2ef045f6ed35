"""benchmarks/label_errors.py: what it plants, and the table that it prints of a project's features."""

import re

import numpy as np
import pytest
from split_files import write_split

from benchmarks import label_errors
from graft.core import paths


@pytest.mark.parametrize("classes", [2, 5])
def test_the_share_of_the_labels_is_changed_to_other_classes(classes):
    labels = np.arange(200) % classes
    planted = label_errors.with_wrong_labels(labels, classes, 0.05, 0)
    assert (planted != labels).sum() == 10
    assert planted.min() >= 0
    assert planted.max() < classes
    assert (label_errors.with_wrong_labels(labels, classes, 0.05, 1) != planted).any()


def test_a_row_of_the_table_is_printed_for_each_seed(project, image_folder, monkeypatch, capsys):
    rows = write_split(image_folder)
    colours = np.eye(3)[[["blue", "green", "red"].index(row["label"]) for row in rows]]
    paths.FEATURES.parent.mkdir()
    np.save(paths.FEATURES, colours.astype(np.float32) + np.random.default_rng(0).normal(0, 0.1, colours.shape))
    monkeypatch.setattr(
        "sys.argv", ["label_errors", "--repository", str(project.folder), "--share", "0.1", "--seeds", "2"]
    )
    label_errors.main()
    table = capsys.readouterr().out.splitlines()[2:]
    assert [re.match(r"\| (\d) \| (\d+) of (\d+) \| 1\.000 \| 1\.000 \|", line).groups() for line in table] == [
        ("0", str(round(0.1 * len(rows))), str(len(rows))),
        ("1", str(round(0.1 * len(rows))), str(len(rows))),
    ]
