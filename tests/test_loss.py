"""Probabilities of logits, and the loss of probabilities."""

import numpy as np
import pytest

from graft.scores.loss import cross_entropy, softmax


def test_probabilities_are_the_softmax():
    np.testing.assert_allclose(softmax(np.log([[1.0, 2.0, 5.0]])), [[0.125, 0.25, 0.625]])


def test_probabilities_of_huge_logits_are_finite():
    np.testing.assert_allclose(softmax(np.array([[1e4, 0.0], [-1e4, -1e4]])), [[1, 0], [0.5, 0.5]])


def test_a_certain_mistake_costs_a_finite_loss():
    assert cross_entropy(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(-np.log(1e-12))
