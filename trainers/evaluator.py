"""The multi-label evaluator: mAP, per-class AP, OF1, CF1."""

from __future__ import annotations

import warnings
from collections import OrderedDict

import numpy as np
import torch
from numpy.typing import NDArray
from yacs.config import CfgNode

from tai_dpt.scoring.metrics import MultiLabelResult, evaluate, percent
from tai_dpt.scoring.scores import KINDS, Scores
from tai_dpt.toolbox import EVALUATOR_REGISTRY, EvaluatorBase


@EVALUATOR_REGISTRY.register()
class MultiLabelEvaluator(EvaluatorBase):
    """Collects scores and labels batch by batch, then prints and returns the metrics.

    ``threshold`` is what the F1 figures decide by; the trainer sets it (it is never chosen on
    the labels that are evaluated). Without one only the top-3 figures are printed.
    ``ignore_unknown``, which the trainer sets too, leaves labels 0 out; else they are negatives.
    """

    def __init__(self, cfg: CfgNode, lab2cname: dict[int, str] | None = None, **_: object) -> None:
        super().__init__(cfg)
        self.class_names = list((lab2cname or {}).values())
        self.ignore_unknown = False
        self.reset()

    def reset(self) -> None:
        self._scores: dict[str, list[torch.Tensor]] = {name: [] for name in KINDS}
        self._labels: list[torch.Tensor] = []
        self.results: dict[str, MultiLabelResult] = {}
        self.threshold = float("nan")

    def process(self, scores: Scores, labels: torch.Tensor) -> None:
        """Take a batch: scores (B, C) of the three kinds, labels (B, C) in {1, 0, -1}."""
        for name in KINDS:
            self._scores[name].append(scores.of(name).cpu())
        self._labels.append(labels.cpu())

    def scores(self, prediction: str) -> NDArray[np.float32]:
        """All scores so far, (n, C)."""
        return torch.cat(self._scores[prediction]).numpy()

    @property
    def labels(self) -> NDArray[np.int8]:
        """All labels so far, (n, C)."""
        return torch.cat(self._labels).numpy()

    def evaluate(self) -> OrderedDict[str, float]:
        """Print the metrics in CoOp's log format and return them, mAP first."""
        chosen = self.cfg.TEST.PREDICTION
        labels = self.labels
        positives = (labels > 0).sum(0)
        empty = [n for n, count in zip(self.class_names, positives, strict=True) if not count]
        if len(empty) == len(self.class_names) > 0:
            warnings.warn(
                "none of the images is labelled with any class, so there is nothing to evaluate; "
                "their scores are kept all the same",
                stacklevel=2,
            )
        elif empty:
            warnings.warn(
                f"{len(empty)} of {len(self.class_names)} classes have no positive image and are "
                f"left out of mAP and of CF1's recall: {', '.join(empty)}",
                stacklevel=2,
            )
        ignore = labels == 0 if self.ignore_unknown else None
        for name in KINDS:
            threshold = self.threshold if name == chosen else float("nan")
            self.results[name] = evaluate(
                self.scores(name), labels, threshold=threshold, ignore=ignore
            )
        result = self.results[chosen]
        metrics = OrderedDict(mAP=result.mAP)
        kinds = {"": result.f1} if not np.isnan(self.threshold) else {}
        kinds["_top3"] = result.f1_top3
        for suffix, f1 in kinds.items():
            metrics.update({f"OF1{suffix}": f1.of1, f"CF1{suffix}": f1.cf1})
        lines = ["=> result", f"* total: {len(labels):,}", f"* prediction: {chosen}"]
        if positives.any():
            lines += [f"* {name}: {percent(value)}" for name, value in metrics.items()]
            lines += [f"* {n} mAP: {percent(self.results[n].mAP)}" for n in KINDS if n != chosen]
            lines += [
                f"* precision in CF1{suffix} leaves out {never:,} classes never named"
                for suffix, f1 in kinds.items()
                if (never := labels.shape[1] - f1.cp_classes)
            ]
        print("\n".join(lines))
        if self.cfg.TEST.PER_CLASS_RESULT:
            print("=> per-class result")
            for index, name in enumerate(self.class_names):
                ap = result.per_class_ap[index]
                found = f"positives: {positives[index]:,}\tAP: {percent(ap)}"
                print(f"* class: {index} ({name})\t{found}")
        return metrics
