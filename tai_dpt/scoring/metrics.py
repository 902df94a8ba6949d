"""Multi-label metrics, in percent.

Pure functions over score matrices; labels are > 0 for a positive and ≤ 0 for a negative unless
an ``ignore`` mask says otherwise.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def average_precision(scores: Array, labels: Array) -> float:
    """Mean over the positives of the precision at that positive, scores sorted descending.

    Ties keep the samples' order (a stable sort), as in the paper's evaluation. NaN where
    there is no positive.

    Args:
        scores: (B,).
        labels: (B,), positive where > 0.
    """
    order = np.argsort(-np.asarray(scores), kind="stable")
    hits = np.asarray(labels)[order] > 0
    if not hits.any():
        return float("nan")
    precision = hits.cumsum() / np.arange(1, len(hits) + 1)
    return float(100 * precision[hits].mean())


def average_precisions(scores: Array, labels: Array, *, ignore: Array | None = None) -> NDArray:
    """Average precision of every class, (C,); NaN for a class without positives.

    Args:
        scores: (B, C).
        labels: (B, C).
        ignore: (B, C) bool, samples to leave out of a class's ranking (VOC's difficult objects
            in the devkit's convention); by default they count as negatives, as in the paper.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    result = np.empty(scores.shape[1])
    for i in range(scores.shape[1]):
        keep = slice(None) if ignore is None else ~np.asarray(ignore)[:, i]
        result[i] = average_precision(scores[keep, i], labels[keep, i])
    return result


@dataclass(frozen=True)
class F1:
    """Overall (O) and per-class (C) precision, recall and F1, in percent."""

    op: float
    or_: float
    of1: float
    cp: float
    cr: float
    cf1: float


def f1_scores(decisions: Array, labels: Array) -> F1:
    """Overall and per-class F1 of yes/no decisions (B, C) against labels (B, C).

    Per-class precision and recall are averaged over the classes first, and CF1 is the harmonic
    mean of the two averages, as multi-label papers do. A class nothing was decided for has
    precision 0.
    """
    decided, positive = np.asarray(decisions, bool), np.asarray(labels) > 0
    hits = (decided & positive).sum(0)
    per_class_precision = hits / np.maximum(decided.sum(0), 1)
    per_class_recall = hits / np.maximum(positive.sum(0), 1)
    op = hits.sum() / max(decided.sum(), 1)
    or_ = hits.sum() / max(positive.sum(), 1)
    cp, cr = per_class_precision.mean(), per_class_recall.mean()
    values = op, or_, _harmonic(op, or_), cp, cr, _harmonic(cp, cr)
    return F1(*(float(100 * v) for v in values))


def top_k(scores: Array, k: int) -> NDArray[np.bool_]:
    """Decisions (B, C): each sample's ``k`` highest scores, ties to the earlier class."""
    scores = np.asarray(scores)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    decided = np.zeros(scores.shape, bool)
    np.put_along_axis(decided, order, True, axis=1)
    return decided


def best_f1_threshold(scores: Array, labels: Array) -> float:
    """The score above which deciding "yes", for all classes alike, gives the highest OF1."""
    flat, positive = np.asarray(scores).ravel(), np.asarray(labels).ravel() > 0
    order = np.argsort(-flat, kind="stable")
    hits = positive[order].cumsum()
    f1 = 2 * hits / (np.arange(1, len(flat) + 1) + max(positive.sum(), 1))
    last_of_tie = np.append(flat[order][1:] != flat[order][:-1], True)
    best = int(np.argmax(np.where(last_of_tie, f1, -1.0)))
    return float(flat[order][best])


@dataclass(frozen=True)
class MultiLabelResult:
    """What multi-label papers print of one score matrix, in percent."""

    mAP: float
    per_class_ap: list[float]  # NaN: a class without positives, left out of mAP
    f1: F1  # decisions: score ≥ threshold
    f1_top3: F1
    threshold: float

    def as_dict(self) -> dict:
        """Plain values, the dictionary that ``results.json`` holds."""
        return asdict(self)


def evaluate(
    scores: Array, labels: Array, *, threshold: float, ignore: Array | None = None
) -> MultiLabelResult:
    """mAP, per-class AP, F1 at ``threshold`` and F1 of the three highest scores.

    Args:
        scores: (B, C).
        labels: (B, C), positive where > 0.
        threshold: score from which on a class is decided to be there.
        ignore: see :func:`average_precisions`.
    """
    ap = average_precisions(scores, labels, ignore=ignore)
    return MultiLabelResult(
        mAP=float("nan") if np.isnan(ap).all() else float(np.nanmean(ap)),
        per_class_ap=[float(v) for v in ap],
        f1=f1_scores(np.asarray(scores) >= threshold, labels),
        f1_top3=f1_scores(top_k(scores, 3), labels),
        threshold=threshold,
    )


def _harmonic(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
