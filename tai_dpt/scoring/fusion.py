"""Fusing the scores of two models (paper, section 3.4): no model is touched."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tai_dpt.errors import InputError, unknown
from tai_dpt.scoring.metrics import (
    average_precisions,
    check_finite,
    evaluate,
    mean_average_precision,
)
from tai_dpt.scoring.results import (
    RESULTS_FILE,
    SCORES_FILE,
    ScoreTable,
    load_results,
    versions,
)

NORMALISATIONS = ("minmax", "zscore", "rank")
_LEAST_GAIN = 0.05  # of mAP in percent that is worth a step of learned weights
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
    return np.sum(parts, axis=0)


def check_weights(weights: Sequence[float], count: int) -> None:
    """Raise InputError unless they are ``count`` weights on the simplex."""
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
    grows; of equally good steps the shortest is taken, so that chance does not move it.

    Raises:
        InputError: no label there is positive; see ``fuse_all``.
    """
    parts = np.stack([normalise(matrix, normalisation) for matrix in matrices])  # (K, n, C)

    def quality(weights: NDArray[np.float64]) -> float:
        fused = np.tensordot(weights, parts, axes=1)
        return mean_average_precision(average_precisions(fused, labels, ignore=ignore))

    count = len(matrices)
    weights = np.full(count, 1 / count)
    best = quality(weights)
    if math.isnan(best):
        raise InputError(f"no positive label among the {len(labels):,} images to learn weights on")
    for step in (0.5, 0.25, 0.1, 0.05, 0.02):
        for _ in range(50):
            tried = [_moved(weights, k, towards) for k in range(count) for towards in (step, -step)]
            values = [quality(candidate) for candidate in tried]
            if max(values) <= best + _LEAST_GAIN:
                break
            best, weights = max(values), tried[int(np.argmax(values))]
    return tuple(float(w) for w in weights)


def _moved(weights: NDArray[np.float64], k: int, step: float) -> NDArray[np.float64]:
    """``weights`` a step towards run ``k`` (or away from it), on the simplex."""
    vertex = np.eye(len(weights))[k]
    moved = np.clip(weights + step * (vertex - weights), 0, None)
    return moved / moved.sum()


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

    def rectified(self, how: str, *, sharpness: float | None = None) -> Component:
        """The same with each image's scores rectified (``tai_dpt.scoring.rectification``).

        Args:
            sharpness: for ``softmax``; what the run's results say when None.

        Raises:
            InputError: they are rectified already, or ``softmax`` does not know its sharpness.
        """
        before = self.results.get("rectify", "none")
        if how == "none":
            return self
        import torch  # here, so that fusing what is not rectified does not wait for it

        from tai_dpt.scoring.rectification import check_rectification, rectify

        if before != "none":
            raise InputError(
                f"{self.name}: its scores are rectified already ({before}); start from an "
                "evaluation with TEST.RECTIFY none"
            )
        if sharpness is None:
            sharpness = self.results.get("softmax_sharpness")
        if sharpness is None and how == "softmax":
            raise InputError(
                f"{self.name}: its results do not say how sharp a softmax of its scores is; give "
                "--sharpness, the backbone's logit scale by the method's κ (25 for TaI-DPT on RN50)"
            )
        check_rectification(how, classes=len(self.table.class_names))

        def rectified(scores: NDArray[np.float32]) -> NDArray[np.float32]:
            values = torch.from_numpy(np.asarray(scores, np.float64))
            return rectify(values, how, sharpness=sharpness or 1.0).numpy().astype(np.float32)

        table = dataclasses.replace(
            self.table,
            global_=rectified(self.table.global_),
            local=rectified(self.table.local),
            merged=rectified(self.table.merged),
        )
        return dataclasses.replace(self, table=table, results={**self.results, "rectify": how})

    def summary(self) -> dict[str, Any]:
        """What the ``results.json`` of a fusion says of it."""
        told = ("trainer", "seed", "epoch", "checkpoint", "backbone", "rectify")
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
    """The fusion of two runs on the same images; see ``fuse_runs``."""
    check_weight(weight)
    return fuse_runs([text, image], [1 - weight, weight], normalisation=normalisation)


def fuse_runs(
    runs: Sequence[Component], weights: Sequence[float], *, normalisation: str = "minmax"
) -> ScoreTable:
    """The fusion of any number of runs on the same images, in the first one's order.

    ``merged`` fuses the runs' predictions; ``global`` and ``local`` each the scores of that kind.

    Raises:
        InputError: see ``align`` and ``fuse_all``.
    """
    first, *others = runs
    aligned = [first, *(align(first, other) for other in others)]

    def fused(matrices: Sequence[Matrix]) -> NDArray[np.float32]:
        return fuse_all(matrices, weights, normalisation=normalisation).astype(np.float32)

    return ScoreTable(
        ids=first.table.ids,
        class_names=first.table.class_names,
        labels=first.table.labels,
        global_=fused([run.table.global_ for run in aligned]),
        local=fused([run.table.local for run in aligned]),
        merged=fused([run.scores for run in aligned]),
    )


def fusion_summary(
    text: Component, image: Component, *, weight: float, normalisation: str, source: str
) -> dict[str, Any]:
    """What ``results.json`` says of a fusion of two; ``source`` is where the weight comes from."""
    return {
        "weight": weight,
        "weight_source": source,
        "normalise": normalisation,
        "text": text.summary(),
        "image": image.summary(),
    }


def fused_results(
    runs: Sequence[Component],
    fused: ScoreTable,
    *,
    weights: Sequence[float],
    normalisation: str,
    source: str,
) -> dict[str, Any]:
    """The ``results.json`` of a fusion that no trainer made."""
    first, *others = runs
    metrics = {
        kind: evaluate(fused.of(kind), fused.labels, threshold=float("nan"), ignore=first.ignore)
        for kind in ("merged", "global", "local")
    }
    origin = next((run.results for run in (*others, first) if run.results), {})
    fusion: dict[str, Any] = {
        "weights": list(weights),
        "weights_source": source,
        "normalise": normalisation,
        "runs": [run.summary() for run in runs],
    }
    if len(runs) == 2:  # as TaIDPTEnsemble says it, which reports read
        fusion |= fusion_summary(
            *runs, weight=weights[1], normalisation=normalisation, source=source
        )
    return {
        "trainer": "TaIDPTEnsemble" if len(runs) == 2 else "Fusion",
        "dataset": origin.get("dataset"),
        "split": origin.get("split"),
        "seed": origin.get("seed"),
        "images": len(fused.ids),
        "prediction": "merged",
        "mAP": metrics["merged"].mAP,
        "metrics": {kind: result.as_dict() for kind, result in metrics.items()},
        "threshold_source": "none",
        "unknown_labels": "negatives" if first.ignore is None else "ignored",
        "class_names": list(fused.class_names),
        "versions": versions(),
        "config": origin.get("config", {}),
        "fusion": fusion,
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
