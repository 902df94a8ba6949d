"""Dassl's interface, as far as the plug-in uses it, without Dassl.

The names, the config keys, the log lines and the order in which things are called are Dassl's,
because users' configs and scripts rely on them; the code is this project's own.
"""

from __future__ import annotations

from tai_dpt.toolbox.dataset_mixin import ClassListMixin
from tai_dpt.toolbox.embedded.config import get_cfg_default
from tai_dpt.toolbox.embedded.evaluation import EVALUATOR_REGISTRY, EvaluatorBase
from tai_dpt.toolbox.embedded.optimizer import build_optimizer
from tai_dpt.toolbox.embedded.registry import Registry
from tai_dpt.toolbox.loop import EpochLoop
from tai_dpt.toolbox.run_mixin import RunMixin
from tai_dpt.toolbox.splits import SplitData

TRAINER_REGISTRY: Registry = Registry("TRAINER")
DATASET_REGISTRY: Registry = Registry("DATASET")


class TrainerX(RunMixin, EpochLoop):
    """The base of a trainer: the epoch loop, and the run around the epochs."""

    evaluators = EVALUATOR_REGISTRY


class DatasetBase(ClassListMixin, SplitData):
    """The base of a dataset: its splits and its classes."""


__all__ = [
    "DATASET_REGISTRY",
    "EVALUATOR_REGISTRY",
    "TRAINER_REGISTRY",
    "DatasetBase",
    "EvaluatorBase",
    "TrainerX",
    "build_optimizer",
    "get_cfg_default",
]
