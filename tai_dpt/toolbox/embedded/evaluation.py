"""Evaluators: fed batch by batch, then asked for the metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
