"""Rectifying one image's scores by each other.

A class's average precision ranks *images*, so whatever shifts all scores of one image together
costs mAP, and zero-shot CLIP's largest multi-label error is such a shift. One image is enough: no
pool of images is needed.
"""

from __future__ import annotations

import warnings
from typing import Any, get_args

import torch
from numpy.typing import NDArray
from torch import Tensor

from tai_dpt.errors import InputError, unknown
from tai_dpt.scoring.metrics import average_precisions, mean_average_precision
from tai_dpt.scoring.scores import Rectification, Scores

RECTIFICATIONS: tuple[Rectification, ...] = get_args(Rectification)

# with fewer classes an image's mean and deviation are noise
_ENOUGH_CLASSES = 8
# a deviation that is rounding alone is none
_LEAST_DEVIATION = 1e-12


def check_rectification(
    how: str, *, classes: int, option: str = "TEST.RECTIFY", warn: bool = True
) -> None:
    """Complain before any work: InputError for an unknown rule, a warning for few classes.

    Args:
        option: where the rule was set.
        warn: whether to warn, too.

    >>> check_rectification("center", classes=20)
    Traceback (most recent call last):
    tai_dpt.errors.InputError: unknown rectification (TEST.RECTIFY) 'center'; did you mean 'centre'? valid: none, centre, standardise, softmax
    """  # noqa: E501
    if how not in RECTIFICATIONS:
        raise unknown(f"rectification ({option})", how, RECTIFICATIONS)
    if how == "standardise" and classes < 2:
        raise InputError(f"one class has no deviation to standardise by; take {option} none")
    if warn and how != "none" and classes < _ENOUGH_CLASSES:
        warnings.warn(
            f"rectifying an image's scores by each other is noisy with {classes} classes; "
            f"{_ENOUGH_CLASSES} or more are enough",
            stacklevel=2,
        )


def rectify(scores: Tensor, how: str, *, sharpness: float = 1.0) -> Tensor:
    """Each image's scores, by the others of the same image.

    ``none`` changes nothing. ``centre`` takes the mean over the classes off. ``standardise`` also
    divides by the deviation over the classes, C − 1 degrees of freedom (SPARC, CVPR 2025,
    equation 1); an image whose scores are all equal gets zeros. ``softmax`` is the log-softmax
    over the classes of ``sharpness · scores``.

    Args:
        scores: (n, C).
        how: one of ``RECTIFICATIONS``.
        sharpness: for ``softmax``: the backbone's logit scale by the scores' own scale κ.

    Raises:
        InputError: unknown ``how``.

    >>> rectify(torch.tensor([[1.0, 2.0, 3.0]]), "standardise")
    tensor([[-1.,  0.,  1.]])
    >>> rectify(torch.tensor([[1.0, 3.0]]), "centre")
    tensor([[-1.,  1.]])
    """
    if how not in RECTIFICATIONS:
        raise unknown("rectification (TEST.RECTIFY)", how, RECTIFICATIONS)
    if how == "none":
        return scores
    if how == "softmax":
        return (sharpness * scores).log_softmax(dim=1)
    centred = scores - scores.mean(dim=1, keepdim=True)
    if how == "centre":
        return centred
    deviation = scores.std(dim=1, keepdim=True, correction=1)
    return centred / deviation.clamp(min=_LEAST_DEVIATION)


def rectify_scores(scores: Scores, how: str, *, sharpness: float = 1.0) -> Scores:
    """Every kind of scores rectified by itself; arguments as for ``rectify``.

    >>> rows = torch.tensor([[1.0, 3.0]])
    >>> rectify_scores(Scores(rows, 2 * rows), "centre").local
    tensor([[-2.,  2.]])
    """
    if how == "none":
        return scores
    return Scores(
        rectify(scores.global_, how, sharpness=sharpness),
        rectify(scores.local, how, sharpness=sharpness),
        rectify(scores.merged, how, sharpness=sharpness),
    )


def choose_rectification(
    scores: NDArray[Any],
    labels: NDArray[Any],
    *,
    sharpness: float = 1.0,
    ignore: NDArray[Any] | None = None,
) -> tuple[Rectification, float]:
    """The rule with the highest mAP on labelled images, and that mAP in percent.

    Another than ``none`` is chosen only where it is better on both halves of the images, every
    second one: a few images would often choose a rule by chance.

    Args:
        scores: as they are (n, C).
        labels: (n, C), of images that nothing is evaluated on later.
        sharpness: as for ``rectify``.
        ignore: (n, C) bool, labels that are left out.

    >>> offset = np.arange(4.0)[:, None]  # of each image, whatever it shows
    >>> choose_rectification(offset + np.eye(4)[[0, 0, 1, 1]], np.eye(4)[[0, 0, 1, 1]])
    ('centre', 100.0)
    """

    def quality(values: NDArray[Any], rows: slice) -> float:
        left_out = None if ignore is None else ignore[rows]
        precisions = average_precisions(values[rows], labels[rows], ignore=left_out)
        return mean_average_precision(precisions)

    halves = (slice(0, None, 2), slice(1, None, 2))
    least = [quality(scores, rows) for rows in halves]
    best, value = RECTIFICATIONS[0], quality(scores, slice(None))
    for how in RECTIFICATIONS[1:]:
        if how == "standardise" and scores.shape[1] < 2:
            continue
        rectified = rectify(torch.as_tensor(scores), how, sharpness=sharpness).numpy()
        better = [
            quality(rectified, rows) > before for rows, before in zip(halves, least, strict=True)
        ]
        if all(better) and quality(rectified, slice(None)) > value:
            best, value = how, quality(rectified, slice(None))
    return best, value
