"""LDA from sums over blocks: the logits that scikit-learn computes from all rows at once."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from graft.heads.lda import SHRINKAGE, fit_lda, sums

# scikit-learn warns of a class with a single row.
pytestmark = pytest.mark.filterwarnings("ignore:Only one sample available")


def random_rows(classes, rows=200, features=12, mean=3.0, seed=0):
    """Draw rows of correlated features, on axes of different scale, with classes of different size."""
    generator = np.random.default_rng(seed)
    labels = np.sort(generator.integers(0, classes, rows) ** 2 // classes)
    labels[:classes] = np.arange(classes)
    values = generator.normal(0, 1, (classes, features))[labels] + generator.normal(size=(rows, features))
    values = values @ generator.normal(size=(features, features)) * 10.0 ** np.linspace(-1, 1, features) + mean
    return values.astype(np.float32), labels


def blocks(rows, labels, size):
    return [(rows[start : start + size], labels[start : start + size]) for start in range(0, len(rows), size)]


def logits(rows, labels, size=50):
    kernel, bias = fit_lda(sums(blocks(rows, labels, size), labels.max() + 1, rows[0]), rows[0])
    return rows @ kernel + bias


def scikit_learn_logits(rows, labels):
    """Return the logits of scikit-learn's LDA in float64, whose mean over the classes is 0."""
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=SHRINKAGE).fit(rows.astype(np.float64), labels)
    found = model.decision_function(rows.astype(np.float64))
    found = found if found.ndim == 2 else np.stack([0 * found, found], axis=1)
    return found - found.mean(axis=1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("mean", [0.0, 1e3])
def test_the_logits_are_scikit_learn_logits(classes, mean):
    rows, labels = random_rows(classes, mean=mean)
    np.testing.assert_allclose(logits(rows, labels), scikit_learn_logits(rows, labels), rtol=1e-6, atol=1e-6)


def test_more_features_than_rows_give_the_logits_of_scikit_learn_too():
    rows, labels = random_rows(3, rows=20, features=50)
    np.testing.assert_allclose(logits(rows, labels), scikit_learn_logits(rows, labels), rtol=1e-6, atol=1e-6)


def test_a_class_with_a_single_row_gives_the_logits_of_scikit_learn_too():
    rows, labels = random_rows(3, rows=60)
    labels[labels == 2] = 1
    labels[0] = 2
    np.testing.assert_allclose(logits(rows, labels), scikit_learn_logits(rows, labels), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("size", [1, 7, 200])
def test_the_size_of_the_blocks_does_not_matter(size):
    rows, labels = random_rows(3)
    np.testing.assert_allclose(logits(rows, labels, size), logits(rows, labels, 50), rtol=1e-9)


def test_the_sums_of_some_rows_are_those_of_all_less_those_of_the_others():
    rows, labels = random_rows(3)
    mixed = np.random.default_rng(0).permutation(len(rows))
    rows, labels = rows[mixed], labels[mixed]
    all_rows, last = sums([(rows, labels)], 3, rows[0]), sums([(rows[120:], labels[120:])], 3, rows[0])
    for found in (all_rows - last, sums([(rows[:120], labels[:120])], 3, rows[0])):
        kernel, bias = fit_lda(found, rows[0])
        expected = scikit_learn_logits(rows[:120], labels[:120])
        np.testing.assert_allclose(rows[:120] @ kernel + bias, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, 3700.0])
def test_where_nothing_varies_within_the_classes_the_logits_are_those_of_their_shares(value):
    labels = np.array([0, 0, 0, 1])
    same = np.full((4, 5), value, np.float32)
    found = logits(same, labels)
    np.testing.assert_allclose(found[:, 0] - found[:, 1], np.log(3))
    by_class = same + labels[:, np.newaxis].astype(np.float32) / 3
    found = logits(by_class, labels)
    np.testing.assert_allclose(found[:, 0] - found[:, 1], np.log(3))
