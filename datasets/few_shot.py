"""A few training images of each class, and images held out of training."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tai_dpt.datasets.base import ImageSplit
from tai_dpt.datasets.hashing import uniform_hash
from tai_dpt.errors import InputError


def few_shot_rows(
    ids: Sequence[str], labels: NDArray[np.int8], *, shots: int, seed: int
) -> NDArray[np.int64]:
    """The rows of a ``shots``-shot training set of multi-label images, ascending.

    An image shows several classes, so "k images of each class" needs a rule. Classes are
    visited from the rarest (fewest known positives) to the commonest, ties in the class list's
    order. Of each, images are drawn at random among those known to show it until ``shots`` drawn
    images are known to show it, counting the ones drawn for earlier classes. So every class has
    at least ``shots`` known positives (all of them, where there are fewer), common classes may
    have more, and an image drawn keeps all its labels.

    The draw depends on the seed, the ids and the labels, not on the order of the images.

    Args:
        ids: n image ids.
        labels: (n, C), known positives > 0.
    """
    if shots < 1:
        raise InputError(f"DATASET.NUM_SHOTS is {shots}; 1 or more images of a class, -1: all")
    order = np.argsort(uniform_hash(seed, ids, ["shots"])[:, 0], kind="stable")
    positive = labels[order] > 0  # (n, C), in the order of drawing
    drawn = np.zeros(len(order), bool)
    for column in np.argsort(positive.sum(0), kind="stable"):
        missing = shots - int((positive[:, column] & drawn).sum())
        if missing > 0:
            drawn[np.flatnonzero(positive[:, column] & ~drawn)[:missing]] = True
    return np.sort(order[drawn])


def few_shot(
    images: ImageSplit, class_names: Sequence[str], *, shots: int, seed: int
) -> ImageSplit:
    """``images``, or those of them that :func:`few_shot_rows` draws; -1 shots are all of them.

    Classes with fewer than ``shots`` known positives are named in a warning.
    """
    if shots == -1:
        return images
    rows = few_shot_rows(images.ids, images.labels, shots=shots, seed=seed)
    counts = (images.labels > 0).sum(0)
    short = [f"{n} ({c})" for n, c in zip(class_names, counts, strict=True) if c < shots]
    if short:
        warnings.warn(
            f"{len(short)} of {len(class_names)} classes have fewer than {shots} known positives "
            f"to draw: {', '.join(short)}",
            stacklevel=2,
        )
    return images.subset(rows)


def held_out(ids: Sequence[str], *, share: float, seed: int) -> NDArray[np.bool_]:
    """Which images are kept from training, (n,): each with probability ``share``.

    The draw depends on the seed and the ids alone.

    Raises:
        InputError: ``share`` is not at least 0 and below 1.
    """
    if not 0 <= share < 1:
        raise InputError(f"DATASET.HOLDOUT is {share}; it must be at least 0 (none) and below 1")
    return uniform_hash(seed, ids, ["held out"])[:, 0] < share
