"""Evaluators: fed batch by batch, then asked for the metrics."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from yacs.config import CfgNode

from tai_dpt.toolbox.embedded.registry import Registry

EVALUATOR_REGISTRY = Registry("EVALUATOR")


class EvaluatorBase:
    """``reset``, then ``process`` every batch, then ``evaluate``."""

    def __init__(self, cfg: CfgNode) -> None:
        self.cfg = cfg

    def reset(self) -> None:
        """Forget all batches."""
        raise NotImplementedError

    def process(self, mo: Any, gt: Any) -> None:
        """Take in the model's output and the ground truth of a batch."""
        raise NotImplementedError

    def evaluate(self) -> Mapping[str, float]:
        """Print and return the metrics; the first is the one models are selected by."""
        raise NotImplementedError


@EVALUATOR_REGISTRY.register()
class Classification(EvaluatorBase):
    """Accuracy, error rate and macro F1 of one label an item (Dassl's default evaluator)."""

    def __init__(
        self, cfg: CfgNode, lab2cname: Mapping[int, str] | None = None, **_kwargs: Any
    ) -> None:
        super().__init__(cfg)
        self._names = lab2cname or {}
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        self._predicted: list[Tensor] = []
        self._true: list[Tensor] = []

    def process(self, mo: Tensor, gt: Tensor) -> None:
        """Take in scores ``mo`` (B, C) and labels ``gt`` (B,)."""
        self._predicted.append(mo.argmax(dim=1).cpu())
        self._true.append(gt.cpu())

    def evaluate(self) -> dict[str, float]:
        """Percentages: accuracy, error_rate, macro_f1 (and perclass_accuracy, if asked for)."""
        predicted, true = torch.cat(self._predicted), torch.cat(self._true)
        size = int(max(predicted.max(), true.max())) + 1
        counts = torch.bincount(true * size + predicted, minlength=size * size).view(size, size)
        hits, actual, guessed = counts.diagonal(), counts.sum(dim=1), counts.sum(dim=0)
        present = actual > 0
        f1 = 2 * hits[present] / (actual + guessed)[present]
        correct, total = int(hits.sum()), int(counts.sum())
        accuracy = 100.0 * correct / total
        results = {
            "accuracy": accuracy,
            "error_rate": 100.0 - accuracy,
            "macro_f1": 100.0 * f1.double().mean().item(),
        }
        print(
            f"=> result\n* total: {total:,}\n* correct: {correct:,}\n"
            f"* accuracy: {accuracy:.1f}%\n* error: {results['error_rate']:.1f}%\n"
            f"* macro_f1: {results['macro_f1']:.1f}%"
        )
        if self.cfg.TEST.PER_CLASS_RESULT:
            results["perclass_accuracy"] = self._per_class(hits, actual)
        if self.cfg.TEST.COMPUTE_CMAT:
            path = Path(self.cfg.OUTPUT_DIR) / "cmat.pt"
            torch.save(counts[present][:, present | (guessed > 0)] / actual[present, None], path)
            print(f"Confusion matrix is saved to {path}")
        return results

    def _per_class(self, hits: Tensor, actual: Tensor) -> float:
        print("=> per-class result")
        accuracies = []
        for label in actual.nonzero().flatten().tolist():
            correct, total = int(hits[label]), int(actual[label])
            accuracies.append(100.0 * correct / total)
            print(
                f"* class: {label} ({self._names.get(label, label)})\ttotal: {total:,}\t"
                f"correct: {correct:,}\tacc: {accuracies[-1]:.1f}%"
            )
        mean = sum(accuracies) / len(accuracies)
        print(f"* average: {mean:.1f}%")
        return mean
