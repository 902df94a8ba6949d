"""Fusing the scores of two models (paper, section 3.4): no model is touched."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tai_dpt.errors import InputError, unknown
from tai_dpt.scoring.metrics import (
    average_precisions,
    check_finite,
    mean_average_precision,
)

NORMALISATIONS = ("minmax", "zscore", "rank")
_LEAST_GAIN = 0.05  # of mAP in percent that is worth a step of learned weights
WEIGHTS = tuple(i / 20 for i in range(21))  # what a curve shows

Matrix = NDArray[np.floating]


def normalise(scores: Matrix, how: str = "minmax") -> NDArray[np.float64]:
    """A score matrix (n, C) on a scale that another model's can be added to.

    One scale for the whole matrix, so the order of its entries stays. A matrix of one value
    becomes one value.

    Args:
        how: ``minmax``, to [0, 1] as in the paper; ``zscore``, to mean 0 and deviation 1;
            ``rank``, each entry's rank in the matrix, to [0, 1], ties shared.

    Raises:
        InputError: unknown ``how``; a score that is not finite.

    >>> normalise(np.array([[2.0, 4.0], [2.0, 6.0]]))
    array([[0. , 0.5],
           [0. , 1. ]])
    """
    if how not in NORMALISATIONS:
        raise unknown("normalisation", how, NORMALISATIONS)
    values = np.asarray(scores, np.float64)
    check_finite(values)
    if not values.size:
        return values
    if how == "rank":
        _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
        ranks = counts.cumsum() - (counts + 1) / 2  # mean rank of each value, from 0
        return (ranks / max(values.size - 1, 1))[inverse].reshape(values.shape)
    if how == "minmax":
        shift, scale = values.min(), values.max() - values.min()
    else:
        shift, scale = values.mean(), values.std()
    # a deviation that is rounding alone is none
    constant = scale <= np.finfo(np.float64).eps * np.abs(values).max()
    return np.zeros_like(values) if constant else (values - shift) / scale


def fuse(
    text: Matrix, image: Matrix, *, weight: float, normalisation: str = "minmax"
) -> NDArray[np.float64]:
    """``(1 − λ) · text + λ · image`` of two normalised score matrices (n, C).

    Args:
        text: scores of the model that learned from captions.
        image: scores of the model that learned from images.
        weight: ``λ``, the image-learned share.

    Raises:
        InputError: ``weight`` outside [0, 1]; matrices of different shapes; see ``normalise``.

    >>> fuse(np.array([[0.0, 2.0]]), np.array([[5.0, 1.0]]), weight=0.25)
    array([[0.25, 0.75]])
    """
    check_weight(weight)
    return fuse_all([text, image], [1 - weight, weight], normalisation=normalisation)


def fuse_all(
    matrices: Sequence[Matrix], weights: Sequence[float], *, normalisation: str = "minmax"
) -> NDArray[np.float64]:
    """``Σ_k w_k · normalised scores_k`` of any number of score matrices (n, C).

    Args:
        weights: one of each matrix, 0 or more, of sum 1.

    Raises:
        InputError: weights that are none; matrices of different shapes; see ``normalise``.

    >>> fuse_all([np.array([[0.0, 2.0]]), np.array([[5.0, 1.0]])], [0.75, 0.25])
    array([[0.25, 0.75]])
    """
    check_weights(weights, len(matrices))
    shapes = dict.fromkeys(np.shape(matrix) for matrix in matrices)
    if len(shapes) > 1:
        raise InputError(f"scores of shape {' and '.join(map(str, shapes))} cannot be fused")
    parts = [w * normalise(m, normalisation) for w, m in zip(weights, matrices, strict=True)]
    fused: NDArray[np.float64] = np.sum(parts, axis=0)
    return fused


def check_weights(weights: Sequence[float], count: int) -> None:
    """Raise InputError unless they are ``count`` weights on the simplex.

    >>> check_weights([0.5, 0.7], 2)
    Traceback (most recent call last):
    tai_dpt.errors.InputError: the weights are 0.5, 0.7; they must be 0 or more, and 1 together
    """
    if len(weights) != count:
        raise InputError(f"{len(weights)} weights do not go with {count} runs: give one of each")
    if not all(w >= 0 for w in weights) or not math.isclose(sum(weights), 1, abs_tol=1e-6):
        raise InputError(
            f"the weights are {', '.join(f'{w:g}' for w in weights)}; they must be 0 or more, and "
            "1 together"
        )


def learn_weights(
    matrices: Sequence[Matrix],
    labels: NDArray[np.integer],
    *,
    normalisation: str = "minmax",
    ignore: NDArray[np.bool_] | None = None,
) -> tuple[float, ...]:
    """Weights on the simplex of high mAP on labelled images that are not evaluated on.

    From equal weights, the fusion moves towards one run or away from it for as long as the mAP
    grows by more than a standard error, which the classes' gains tell: on few images the best
    weights there are chance, and equal ones are then the better guess elsewhere. Of equally good
    steps the shortest is taken.

    Raises:
        InputError: no label there is positive; see ``fuse_all``.

    >>> good, bad = np.array([[0.9], [0.5], [0.1]]), np.array([[0.0], [0.1], [1.0]])
    >>> learn_weights([good, bad], np.array([[1], [1], [0]]))
    (0.75, 0.25)
    """
    parts = np.stack([normalise(matrix, normalisation) for matrix in matrices])  # (K, n, C)

    def quality(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        ap = average_precisions(np.tensordot(weights, parts, axes=1), labels, ignore=ignore)
        return ap[~np.isnan(ap)]

    count = len(matrices)
    weights = np.full(count, 1 / count)
    best = quality(weights)
    if not len(best):
        raise InputError(f"no positive label among the {len(labels):,} images to learn weights on")
    for step in (0.5, 0.25, 0.1, 0.05, 0.02):
        for _ in range(50):
            tried = [_moved(weights, k, towards) for k in range(count) for towards in (step, -step)]
            values = [quality(candidate) for candidate in tried]
            k = int(np.argmax([value.mean() for value in values]))
            gain = values[k] - best
            if gain.mean() <= max(_LEAST_GAIN, _standard_error(gain)):
                break
            best, weights = values[k], tried[k]
    return tuple(float(w) for w in weights)


def _standard_error(values: NDArray[np.float64]) -> float:
    """Of the mean; 0 of a single value, which does not tell."""
    return float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0


def _moved(weights: NDArray[np.float64], k: int, step: float) -> NDArray[np.float64]:
    """``weights`` a step towards run ``k`` (or away from it), on the simplex."""
    vertex = np.eye(len(weights))[k]
    moved: NDArray[np.float64] = np.clip(weights + step * (vertex - weights), 0, None)
    moved /= moved.sum()
    return moved


def check_weight(weight: float) -> None:
    """Raise InputError unless ``weight`` lies in [0, 1].

    >>> check_weight(2)
    Traceback (most recent call last):
    tai_dpt.errors.InputError: the weight λ is 2; it must lie in [0, 1] (1: image-learned only)
    """
    if not 0 <= weight <= 1:
        raise InputError(f"the weight λ is {weight}; it must lie in [0, 1] (1: image-learned only)")


def map_over_weights(
    text: Matrix,
    image: Matrix,
    labels: NDArray[np.integer],
    *,
    weights: Sequence[float] = WEIGHTS,
    normalisation: str = "minmax",
    ignore: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """mAP in percent of the fusion at each of ``weights``; NaN where no class has a positive.

    Args:
        labels: (n, C), positive where > 0.
        ignore: (n, C), see :func:`tai_dpt.scoring.metrics.average_precisions`.

    >>> text, image = np.array([[0.0], [1.0]]), np.array([[1.0], [0.0]])
    >>> map_over_weights(text, image, np.array([[1], [0]]), weights=(0.0, 1.0))
    array([ 50., 100.])
    """
    text, image = normalise(text, normalisation), normalise(image, normalisation)
    result = np.empty(len(weights))
    for i, weight in enumerate(weights):
        check_weight(weight)
        ap = average_precisions((1 - weight) * text + weight * image, labels, ignore=ignore)
        result[i] = mean_average_precision(ap)
    return result


def choose_weight(
    text: Matrix, image: Matrix, labels: NDArray[np.integer], *, normalisation: str = "minmax"
) -> float:
    """``λ`` by ``learn_weights``, on *training* images that neither model learned from.

    Unknown labels are left out of each class's ranking.

    Args:
        text: the text-learned model's scores (n, C) of those images.
        image: the image-learned model's.
        labels: (n, C): 1 positive, −1 negative, 0 unknown.

    Raises:
        InputError: no label there is a known positive.

    >>> text, image = np.array([[0.0], [1.0]]), np.array([[1.0], [0.0]])
    >>> choose_weight(text, image, np.array([[1], [-1]]))
    0.75
    """
    if not (np.asarray(labels) > 0).any():
        raise InputError(
            f"no known positive among the {len(labels):,} held-out images to choose λ on: hold "
            "out more (DATASET.HOLDOUT), or give a number"
        )
    ignore = labels == 0
    return learn_weights([text, image], labels, normalisation=normalisation, ignore=ignore)[1]
