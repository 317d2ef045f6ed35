"""Logistic regression on rows that need not fit in memory.

scikit-learn's LogisticRegression needs all rows at once. Here the same objective is given to the same L-BFGS of SciPy,
from the same start, with loss and gradient added up over blocks of rows. So both find the same weights, but for the
rounding of float32.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

# Calls a function of rows, float32 (rows, features), and their labels, int (rows,), for all blocks of rows in turn.
# Yields what it returns, in the order of the blocks. The rows are new arrays.
Map = Callable[[Callable[[np.ndarray, np.ndarray], "Part"]], Iterable["Part"]]


class Part(NamedTuple):
    """What a block adds: a number for each block, and an array; float64."""

    number: float
    array: np.ndarray


def regression(
    blocks: Map, size: int, classes: int, C: float, iterations: int, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return a kernel, float64 (size, classes), and a bias, (classes,): the logits are ``rows @ kernel + bias``.

    The rows are centred and divided by one number, as `linear` does it in memory.

    Parameters
    ----------
    blocks : goes through all rows; it is called once for each evaluation of the objective.
    size : number of features.
    classes : from 2.
    C : as in scikit-learn.
    iterations, tolerance : `max_iter` and `tol` in scikit-learn.
    """
    rows, total = _added(blocks(lambda x, _: Part(len(x), x.sum(axis=0, dtype=np.float64))))
    mean = (total / rows).astype(np.float32)
    _, squares = _added(blocks(lambda x, _: Part(0, np.square(x - mean).sum(dtype=np.float64))))
    # If no feature ever changes, there is nothing to scale.
    scale = float(np.sqrt(squares / (rows * size))) or 1.0
    # Of two classes only the second's logit is fitted, as in scikit-learn.
    columns = 1 if classes == 2 else classes

    def objective(weights: np.ndarray) -> tuple[float, np.ndarray]:
        kernel, bias = weights[:-columns].reshape(size, columns), weights[-columns:]
        scaled = (kernel / scale).astype(np.float32)

        def part(x: np.ndarray, labels: np.ndarray) -> Part:
            x -= mean
            loss, residuals = _loss(x @ scaled + bias, labels)
            gradient = x.T @ residuals.astype(np.float32)
            return Part(loss, np.vstack([gradient / scale, residuals.sum(axis=0)]))

        loss, gradient = _added(blocks(part))
        gradient /= rows
        gradient[:-1] += kernel / (C * rows)
        return loss / rows + float(np.square(kernel).sum()) / (2 * C * rows), gradient.ravel()

    start = np.zeros((size + 1) * columns)
    found = minimize(
        objective,
        start,
        jac=True,
        method="L-BFGS-B",
        # As in scikit-learn.
        options={"maxiter": iterations, "maxls": 50, "gtol": tolerance, "ftol": 64 * float(np.finfo(float).eps)},
    ).x
    kernel, bias = found[:-columns].reshape(size, columns) / scale, found[-columns:]
    bias = bias - mean @ kernel
    if columns == 1:
        kernel, bias = np.hstack([-kernel / 2, kernel / 2]), np.concatenate([-bias / 2, bias / 2])
    return kernel, bias


def _loss(logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the sum of the cross-entropies of rows, and its derivative by the logits, float64 (rows, columns)."""
    if logits.shape[1] == 1:
        logits = np.hstack([np.zeros_like(logits), logits])
        loss, residuals = _loss(logits, labels)
        return loss, residuals[:, 1:]
    places = np.arange(len(labels)), labels
    sums = logsumexp(logits, axis=1)
    residuals = np.exp(logits - sums[:, np.newaxis])
    residuals[places] -= 1
    return float((sums - logits[places]).sum()), residuals


def _added(parts: Iterable[Part]) -> Part:
    """Return the sums over blocks, added in their order: the same bits each time."""
    number, array = 0.0, np.zeros(())
    for part in parts:
        number += part.number
        array = array + part.array
    return Part(number, np.asarray(array))
