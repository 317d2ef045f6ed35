"""Training a linear head: which settings cross-validation chooses, and what is printed about it."""

import numpy as np
import own_parameters
import pytest

from graft.core.errors import GraftError
from graft.heads.linear import C_VALUES, DEFAULT_C
from graft.heads.train import FeatureSet, train_head
from graft.settings import params

DEFAULTS = own_parameters.VALUES["head"]


def settings(**changes):
    return params.Head(**DEFAULTS | changes)


def feature_set(features, labels, groups):
    sha256 = np.array([f"{number:064x}" for number in range(len(labels))])
    return FeatureSet(features.astype(np.float32), labels, sha256, groups, labels.max() + 1)


def noise_in_copies():
    """Two copies each of 60 pictures whose labels are random, and their groups."""
    generator = np.random.default_rng(0)
    features = generator.normal(size=(60, 300)).repeat(2, axis=0) + generator.normal(0, 0.05, (120, 300))
    return features, np.arange(60).repeat(2) % 2, np.arange(60).repeat(2)


def copies_of_two_pictures():
    generator = np.random.default_rng(0)
    labels = np.arange(20) % 2
    return labels[:, np.newaxis] + generator.normal(0, 0.05, (20, 6)), labels, labels


def test_copies_of_an_image_are_in_one_fold(capsys):
    train = feature_set(*noise_in_copies())
    train_head(train, train, settings(lda=0), seed=0)
    assert capsys.readouterr().out == f"logistic regression, C {C_VALUES[0]:g}\n"


def test_where_no_image_can_be_held_out_the_default_is_used_and_the_printed_line_says_why(capsys):
    train = feature_set(*copies_of_two_pictures())
    head = train_head(train, train, settings(), seed=0)
    assert capsys.readouterr().out == (
        f"logistic regression, C {DEFAULT_C:g} "
        "(the default: no class has two training images that are not copies of each other)\n"
    )
    np.testing.assert_array_equal(head.logits(train.read()).argmax(axis=1), train.labels)


def test_lda_needs_images_that_can_be_held_out():
    train = feature_set(*copies_of_two_pictures())
    expected = "^head.lda: 0.5, but no class has two training images that are not copies of each other; 0 does without$"
    with pytest.raises(GraftError, match=expected):
        train_head(train, train, settings(lda=0.5), seed=0)


@pytest.mark.parametrize("lda", [0, "auto"])
def test_a_given_C_needs_no_cross_validation(lda, capsys):
    train = feature_set(*copies_of_two_pictures())
    train_head(train, train, settings(C=0.5, lda=lda), seed=0)
    assert capsys.readouterr().out == "logistic regression, C 0.5\n"
