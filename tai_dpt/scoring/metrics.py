"""Multi-label metrics, in percent.

Pure functions over score matrices; labels are > 0 for a positive and ≤ 0 for a negative unless
an ``ignore`` mask says otherwise. Where a figure is undefined it is NaN, never a made-up 0. A
score that is NaN or infinite has no place in a ranking: it is an error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tai_dpt.errors import InputError

Array = NDArray[Any]


def check_finite(
    scores: Array,
    *,
    ids: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
    where: str = "",
) -> None:
    """Raise InputError where a score is NaN or infinite: how many are, and whose is the first.

    >>> check_finite(np.array([0.5, 0.1]))

    Args:
        scores: (B,) or (B, C).
        ids: the B images; left out: the message gives the row's number.
        class_names: the C classes.
        where: what the message begins with, such as the scores' file.
    """
    scores = np.asarray(scores)
    finite = np.isfinite(scores)
    if finite.all():
        return
    finite = finite.reshape(len(scores), -1)
    row, column = map(int, np.argwhere(~finite)[0])
    whose = f"image '{ids[row]}'" if ids is not None else f"sample {row}"
    if class_names is not None:
        whose += f", class '{class_names[column]}'"
    elif scores.ndim == 2:
        whose += f", class {column}"
    value = scores.reshape(finite.shape)[row, column]
    raise InputError(
        f"{where}{': ' if where else ''}{(~finite).sum():,} scores are not finite, the first is "
        f"{value}, of {whose}: the model has diverged or its weights are damaged, so there is "
        "nothing to measure"
    )


def _check_alike(scores: Array, *others: Array | None) -> None:
    for other in others:
        if other is not None and np.shape(other) != np.shape(scores):
            raise InputError(
                f"scores are {np.shape(scores)}, and what goes with them {np.shape(other)}"
            )


def average_precision(scores: Array, labels: Array) -> float:
    """Mean over the positives of the precision at that positive, scores sorted descending.

    Equal scores are one threshold, so the samples' order never matters: the same value as
    scikit-learn's ``average_precision_score``. NaN where there is no positive.

    >>> average_precision(np.array([0.9, 0.8, 0.7]), np.array([1, 0, 1]))  # (1/1 + 2/3) / 2
    83.33333333333333

    Args:
        scores: (B,).
        labels: (B,), positive where > 0.

    Raises:
        InputError: a score is not finite, or the shapes differ.
    """
    scores = np.asarray(scores)
    _check_alike(scores, labels)
    check_finite(scores)
    order = np.argsort(scores, kind="stable")[::-1]
    ranked, hits = scores[order], np.asarray(labels)[order] > 0
    if not hits.any():
        return float("nan")
    last_of_tie = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    found = hits.cumsum()[last_of_tie]  # positives down to and with each distinct score
    precision = found / (last_of_tie + 1)
    return float(100 * (np.diff(found, prepend=0) * precision).sum() / found[-1])


def average_precisions(scores: Array, labels: Array, *, ignore: Array | None = None) -> Array:
    """Average precision of every class, (C,); NaN for a class without positives.

    >>> scores = np.array([[0.9, 0.1], [0.2, 0.3]])
    >>> average_precisions(scores, np.array([[1, 0], [0, 0]]))  # nobody shows the second class
    array([100.,  nan])

    Args:
        scores: (B, C).
        labels: (B, C).
        ignore: (B, C) bool, samples to leave out of a class's ranking (unknown labels, VOC's
            difficult objects in the devkit's convention); by default they count as negatives,
            as in the paper.

    Raises:
        InputError: a score is not finite, or the shapes differ.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    _check_alike(scores, labels, ignore)
    check_finite(scores)
    result = np.empty(scores.shape[1])
    for i in range(scores.shape[1]):
        keep = slice(None) if ignore is None else ~np.asarray(ignore)[:, i]
        result[i] = average_precision(scores[keep, i], labels[keep, i])
    return result


def mean_average_precision(ap: Array) -> float:
    """mAP: the mean over the classes that have an average precision; NaN where none has.

    >>> mean_average_precision(np.array([100.0, np.nan, 50.0]))
    75.0
    """
    return float("nan") if np.isnan(ap).all() else float(np.nanmean(ap))


def percent(value: float | None) -> str:
    """A figure as it is printed; a dash where there is none, as of images without labels.

    >>> percent(87.123), percent(float("nan"))
    ('87.12%', '–')
    """
    return "–" if value is None or math.isnan(value) else f"{value:.2f}%"


@dataclass(frozen=True)
class F1:
    """Overall (O) and per-class (C) precision, recall and F1, in percent."""

    op: float
    or_: float
    of1: float
    cp: float
    cr: float
    cf1: float
    cp_classes: int  # how many classes ``cp`` is the mean of, and ``cr``
    cr_classes: int


_NO_F1 = F1(*(float("nan"),) * 6, 0, 0)


def f1_scores(decisions: Array, labels: Array, *, ignore: Array | None = None) -> F1:
    """Overall and per-class F1 of yes/no decisions (B, C) against labels (B, C).

    Per-class precision and recall are averaged over the classes first, and CF1 is the harmonic
    mean of the two averages, as multi-label papers do. A class that was never decided for has no
    precision and one without a positive no recall; as in mAP, such a class is left out of that
    average and never counted as 0.

    >>> decided = np.array([[True, True], [False, True]])
    >>> round(f1_scores(decided, np.array([[1, 0], [1, 1]])).of1, 1)  # 2 of 3 right, 2 of 3 found
    66.7

    Args:
        ignore: see :func:`average_precisions`; neither a decision nor a positive there.
    """
    _check_alike(decisions, labels, ignore)
    decided, positive = np.asarray(decisions, bool), np.asarray(labels) > 0
    if ignore is not None:
        decided, positive = decided & ~np.asarray(ignore), positive & ~np.asarray(ignore)
    hits, n_decided, n_positive = (decided & positive).sum(0), decided.sum(0), positive.sum(0)
    precisions = hits[n_decided > 0] / n_decided[n_decided > 0]
    recalls = hits[n_positive > 0] / n_positive[n_positive > 0]
    op, or_ = _share(hits.sum(), n_decided.sum()), _share(hits.sum(), n_positive.sum())
    cp, cr = _share(precisions.sum(), len(precisions)), _share(recalls.sum(), len(recalls))
    return F1(
        op=100 * op,
        or_=100 * or_,
        of1=100 * _harmonic(op, or_),
        cp=100 * cp,
        cr=100 * cr,
        cf1=100 * _harmonic(cp, cr),
        cp_classes=len(precisions),
        cr_classes=len(recalls),
    )


def top_k(scores: Array, k: int, *, ignore: Array | None = None) -> NDArray[np.bool_]:
    """Decisions (B, C): each sample's ``k`` highest scores, ties to the earlier class.

    Whatever the scores are: ML-GCN's evaluation also wants them to be 0 or more, so its "top-3"
    decides for fewer than three classes where a model is not confident.

    >>> top_k(np.array([[0.1, 0.9, 0.5]]), 2)
    array([[False,  True,  True]])

    Args:
        ignore: (B, C) bool, what is never decided; the others of the sample compete.

    Raises:
        InputError: a score is not finite.
    """
    scores = np.asarray(scores)
    check_finite(scores)
    ranks = scores.astype(np.float64)
    if ignore is not None:
        ranks[np.asarray(ignore)] = -np.inf
    order = np.argsort(-ranks, axis=1, kind="stable")[:, :k]
    decided = np.zeros(scores.shape, bool)
    np.put_along_axis(decided, order, True, axis=1)
    return decided & np.isfinite(ranks)


def best_f1_threshold(scores: Array, labels: Array) -> float:
    """The score from which on deciding "yes", for all classes alike, gives the highest OF1.

    NaN where there is no positive.

    >>> best_f1_threshold(np.array([[0.9, 0.2], [0.6, 0.1]]), np.array([[1, 0], [1, 0]]))
    0.6

    Raises:
        InputError: a score is not finite, or the shapes differ.
    """
    _check_alike(scores, labels)
    flat, positive = np.asarray(scores).ravel(), np.asarray(labels).ravel() > 0
    check_finite(flat)
    if not positive.any():
        return float("nan")
    order = np.argsort(flat, kind="stable")[::-1]
    ranked, hits = flat[order], positive[order].cumsum()
    f1 = 2 * hits / (np.arange(1, len(flat) + 1) + hits[-1])
    last_of_tie = np.append(ranked[1:] != ranked[:-1], True)
    return float(ranked[int(np.argmax(np.where(last_of_tie, f1, -1.0)))])


def known_cardinality(labels: Array) -> float:
    """Mean number of labels of an image, estimated from the known ones; NaN without any.

    The sum over the classes of the share of positives among the known labels.

    >>> known_cardinality(np.array([[1, 1], [1, -1], [1, 0]]))  # always the first, half the second
    1.5

    Args:
        labels: (n, C): 1 present, -1 absent, 0 unknown.
    """
    known, positive = (labels != 0).sum(0), (labels > 0).sum(0)
    if not known.any():
        return float("nan")
    return float((positive / np.maximum(known, 1)).sum())


@dataclass(frozen=True)
class MultiLabelResult:
    """What multi-label papers print of one score matrix, in percent."""

    mAP: float
    per_class_ap: list[float]  # NaN: a class without positives, left out of mAP
    f1: F1  # decisions: score ≥ threshold
    f1_top3: F1
    threshold: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values, the dictionary that ``results.json`` holds."""
        return asdict(self)


def evaluate(
    scores: Array, labels: Array, *, threshold: float, ignore: Array | None = None
) -> MultiLabelResult:
    """mAP, per-class AP, F1 at ``threshold`` and F1 of the three highest scores.

    >>> result = evaluate(np.array([[0.9, 0.2]]), np.array([[1, 0]]), threshold=0.5)
    >>> result.mAP, result.f1.of1
    (100.0, 100.0)

    Args:
        scores: (B, C).
        labels: (B, C), positive where > 0.
        threshold: score from which on a class is decided to be there; NaN: there is none, and
            so no F1 either.
        ignore: see :func:`average_precisions`; nor is it decided that such a class is there.

    Raises:
        InputError: a score is not finite.
    """
    ap = average_precisions(scores, labels, ignore=ignore)
    f1 = f1_scores(np.asarray(scores) >= threshold, labels, ignore=ignore)
    return MultiLabelResult(
        mAP=mean_average_precision(ap),
        per_class_ap=[float(v) for v in ap],
        f1=_NO_F1 if np.isnan(threshold) else f1,
        f1_top3=f1_scores(top_k(scores, 3, ignore=ignore), labels, ignore=ignore),
        threshold=threshold,
    )


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")


def _harmonic(precision: float, recall: float) -> float:
    """Their harmonic mean; 0 where one of them is 0 or undefined, NaN where both are undefined."""
    if np.isnan(precision) and np.isnan(recall):
        return float("nan")
    if np.isnan(precision + recall) or not precision + recall:
        return 0.0
    return 2 * precision * recall / (precision + recall)
