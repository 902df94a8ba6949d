"""Fusing the scores of two models (paper, section 3.4): no model is touched."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tai_dpt.errors import InputError, unknown
from tai_dpt.scoring.metrics import average_precisions, check_finite, mean_average_precision
from tai_dpt.scoring.results import RESULTS_FILE, SCORES_FILE, ScoreTable, load_results

NORMALISATIONS = ("minmax", "zscore", "rank")
WEIGHTS = tuple(i / 20 for i in range(21))  # what a curve shows and choose_weight tries

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
    """
    check_weight(weight)
    if np.shape(text) != np.shape(image):
        raise InputError(f"scores of shape {np.shape(text)} and {np.shape(image)} cannot be fused")
    return (1 - weight) * normalise(text, normalisation) + weight * normalise(image, normalisation)


def check_weight(weight: float) -> None:
    """Raise InputError unless ``weight`` lies in [0, 1]."""
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
    """
    text, image = normalise(text, normalisation), normalise(image, normalisation)
    result = np.empty(len(weights))
    for i, weight in enumerate(weights):
        check_weight(weight)
        ap = average_precisions((1 - weight) * text + weight * image, labels, ignore=ignore)
        result[i] = mean_average_precision(ap)
    return result


def choose_weight(
    text: Matrix,
    image: Matrix,
    labels: NDArray[np.integer],
    *,
    weights: Sequence[float] = WEIGHTS,
    normalisation: str = "minmax",
) -> float:
    """The ``λ`` of highest mAP on *training* images that neither model learned from.

    Unknown labels are left out of each class's ranking. Of equally good weights, the middle one.

    Args:
        text, image: scores (n, C) of those images.
        labels: (n, C): 1 positive, −1 negative, 0 unknown.

    Raises:
        InputError: no label there is a known positive.
    """
    curve = map_over_weights(
        text, image, labels, weights=weights, normalisation=normalisation, ignore=labels == 0
    )
    if np.isnan(curve).all():
        raise InputError(
            f"no known positive among the {len(labels):,} held-out images to choose λ on: hold "
            "out more (DATASET.HOLDOUT), or give a number"
        )
    best = np.flatnonzero(curve >= np.nanmax(curve) - 1e-9)
    return float(weights[best[len(best) // 2]])


@dataclass(frozen=True)
class Component:
    """One side of a fusion: a run's scores, and which of them are its prediction."""

    name: str  # what errors call it
    table: ScoreTable
    prediction: str  # merged, global or local
    results: dict[str, Any]  # the run's results.json; empty if there is none

    @property
    def scores(self) -> NDArray[np.float32]:
        """The scores that are its prediction, (n, C)."""
        return self.table.of(self.prediction)

    @property
    def ignore(self) -> NDArray[np.bool_] | None:
        """Labels that its evaluation left out (n, C): unknown ones, if the run did so."""
        named = self.results.get("unknown_labels", self.results.get("undecided_labels"))  # 0.1
        left_out = named == "ignored"
        return self.table.labels == 0 if left_out else None

    @property
    def mAP(self) -> float:
        """Of its own prediction, on its own images, in percent."""
        return mean_average_precision(
            average_precisions(self.scores, self.table.labels, ignore=self.ignore)
        )

    def summary(self) -> dict[str, Any]:
        """What the ``results.json`` of a fusion says of it."""
        told = ("trainer", "seed", "epoch", "checkpoint", "backbone")
        known = {key: self.results.get(key) for key in told}
        return {"scores": self.name, "prediction": self.prediction, "mAP": self.mAP, **known}


def read_component(path: str | os.PathLike[str], prediction: str = "") -> Component:
    """The scores of a run: its folder, or its ``scores.npz``.

    Args:
        prediction: ``merged``, ``global`` or ``local``; by default what the ``results.json``
            beside the scores says the run predicts with, and ``merged`` without one.

    Raises:
        InputError: there are no scores, they cannot be read, or one of them is not finite.
    """
    path = Path(path)
    path = path / SCORES_FILE if path.is_dir() else path
    table = ScoreTable.load(path)
    for scores in (table.merged, table.global_, table.local):
        check_finite(scores, ids=table.ids, class_names=table.class_names, where=str(path))
    beside = path.with_name(RESULTS_FILE)
    results = load_results(beside) if beside.is_file() else {}
    return Component(str(path), table, prediction or results.get("prediction", "merged"), results)


def align(text: Component, image: Component) -> Component:
    """``image`` with its images and classes in ``text``'s order.

    Raises:
        InputError: they are of other images or classes, or disagree about a label.
    """
    theirs, ours = image.table, text.table
    rows = _positions("images", text.name, ours.ids, image.name, theirs.ids)
    columns = _positions("classes", text.name, ours.class_names, image.name, theirs.class_names)
    at = np.ix_(rows, columns)
    table = ScoreTable(
        ids=ours.ids,
        class_names=ours.class_names,
        labels=theirs.labels[at],
        global_=theirs.global_[at],
        local=theirs.local[at],
        merged=theirs.merged[at],
    )
    differ = np.argwhere(table.labels != ours.labels)
    if len(differ):
        row, column = map(int, differ[0])
        raise InputError(
            f"{text.name} and {image.name} disagree about {len(differ):,} labels, first about "
            f"'{ours.class_names[column]}' in image '{ours.ids[row]}': evaluate both on the same "
            "annotations"
        )
    return Component(image.name, table, image.prediction, image.results)


def fuse_components(
    text: Component, image: Component, *, weight: float, normalisation: str = "minmax"
) -> ScoreTable:
    """The fusion of two runs on the same images.

    ``merged`` fuses the two predictions; ``global`` and ``local`` each the scores of that kind.

    Raises:
        InputError: see ``align`` and ``fuse``.
    """
    image = align(text, image)

    def fused(ours: Matrix, theirs: Matrix) -> NDArray[np.float32]:
        return fuse(ours, theirs, weight=weight, normalisation=normalisation).astype(np.float32)

    return ScoreTable(
        ids=text.table.ids,
        class_names=text.table.class_names,
        labels=text.table.labels,
        global_=fused(text.table.global_, image.table.global_),
        local=fused(text.table.local, image.table.local),
        merged=fused(text.scores, image.scores),
    )


def fusion_summary(
    text: Component, image: Component, *, weight: float, normalisation: str, source: str
) -> dict[str, Any]:
    """What ``results.json`` says of a fusion; ``source`` is where the weight comes from."""
    return {
        "weight": weight,
        "weight_source": source,
        "normalise": normalisation,
        "text": text.summary(),
        "image": image.summary(),
    }


def _positions(
    kind: str, name: str, names: Sequence[str], other: str, others: Sequence[str]
) -> list[int]:
    """Where each of ``names`` stands in ``others``; InputError unless the two sets are one."""
    position = {value: i for i, value in enumerate(others)}
    missing = [value for value in names if value not in position]
    here = set(names)
    extra = [value for value in others if value not in here]
    if missing or extra:
        parts = [
            f"{len(values):,} only in {where}: {', '.join(values[:5])}"
            + (", …" if len(values) > 5 else "")
            for where, values in ((name, missing), (other, extra))
            if values
        ]
        raise InputError(f"the runs have other {kind}: {'; '.join(parts)}")
    return [position[value] for value in names]
