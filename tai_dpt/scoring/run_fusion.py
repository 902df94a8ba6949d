"""Fusing the scores that runs left: found, aligned, rectified, fused, written down."""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tai_dpt.errors import InputError, first_few
from tai_dpt.scoring.fusion import Matrix, check_weight, fuse_all
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
    addition,
    flat_config,
    load_results,
    versions,
)

# the fusions that the trainer TaIDPTEnsemble makes, and the paper's tables name
_ENSEMBLES = (("TaIDPT", "DualCoOp"), ("TaIDPT", "MLCoOp"))


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

    def with_a_class(self) -> Component:
        """The same without the images that show no class (``DATASET.EVAL_IMAGES``).

        Raises:
            InputError: there are no others.
        """
        table = self.table
        rows = np.flatnonzero((table.labels > 0).any(axis=1))
        if not len(rows):
            raise InputError(f"{self.name}: no image shows a class")
        names = [f.name for f in dataclasses.fields(table) if f.name not in ("ids", "class_names")]
        changed: dict[str, Any] = {name: getattr(table, name)[rows] for name in names}
        table = dataclasses.replace(table, ids=tuple(table.ids[row] for row in rows), **changed)
        config = copy.deepcopy(self.results.get("config", {}))
        config.setdefault("DATASET", {})["EVAL_IMAGES"] = "any_positive"
        return dataclasses.replace(self, table=table, results={**self.results, "config": config})

    def summary(self) -> dict[str, Any]:
        """What the ``results.json`` of a fusion says of it."""
        told = ("trainer", "seed", "epoch", "checkpoint", "backbone", "rectify")
        known = {key: self.results.get(key) for key in told}
        options = flat_config(self.results.get("config", {}))
        known["added"] = addition(self.results.get("trainer"), options)
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
    return Component(str(path), table, prediction or results.get("prediction") or "merged", results)


def align(text: Component, image: Component) -> Component:
    """``image`` with its images and classes in ``text``'s order.

    Raises:
        InputError: they are of other images or classes, disagree about a label, or about what
            counts.
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
    alike = (text.ignore is None) == (image.ignore is None)
    if not alike and text.results and image.results and (ours.labels == 0).any():
        raise InputError(
            f"{text.name} and {image.name} differ in whether unknown labels count as negatives or "
            "not at all, so their figures are not of one kind: evaluate both alike "
            "(DATASET.VOC2007.DIFFICULT)"
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
    fuses = [run.results.get("trainer") for run in runs]
    return {
        "trainer": "TaIDPTEnsemble" if tuple(fuses) in _ENSEMBLES else "Fusion",
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
        **{key: origin[key] for key in ("trained_with", "earlier_options") if key in origin},
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
            f"{len(values):,} only in {where}: {first_few(values)}"
            for where, values in ((name, missing), (other, extra))
            if values
        ]
        raise InputError(f"the runs have other {kind}: {'; '.join(parts)}")
    return [position[value] for value in names]
