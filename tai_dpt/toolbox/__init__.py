"""The only door to Dassl: one set of names, from stock ``dassl`` or from the embedded toolbox.

Trainers and datasets import what they need from here and never ask which of the two they got:
``TOOLBOX`` says it for a log. Stock ``dassl`` is taken when it can be imported, so that the
plug-in registers where the user's own script looks; ``TAI_DPT_TOOLBOX=dassl|embedded`` forces
one. The schedule, the checkpoints, the log and the training run around the epochs are this
package's own on both sides, so the same seed and config give the same numbers on both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from yacs.config import CfgNode

from tai_dpt.toolbox.building import Builders
from tai_dpt.toolbox.checkpoint import load_checkpoint, resume_from_checkpoint, save_checkpoint
from tai_dpt.toolbox.choice import choose_toolbox
from tai_dpt.toolbox.environment import collect_env_info, set_random_seed
from tai_dpt.toolbox.logger import logging_to, open_log, setup_logger
from tai_dpt.toolbox.schedule import build_lr_scheduler

TOOLBOX = choose_toolbox()

if TYPE_CHECKING or TOOLBOX == "embedded":
    from tai_dpt.toolbox.embedded import (
        DATASET_REGISTRY,
        EVALUATOR_REGISTRY,
        TRAINER_REGISTRY,
        DatasetBase,
        EvaluatorBase,
        TrainerX,
        build_optimizer,
        get_cfg_default,
    )
else:
    from tai_dpt.toolbox.stock import (
        DATASET_REGISTRY,
        EVALUATOR_REGISTRY,
        TRAINER_REGISTRY,
        DatasetBase,
        EvaluatorBase,
        TrainerX,
        build_optimizer,
        get_cfg_default,
    )

_builders = Builders(
    trainers=TRAINER_REGISTRY, datasets=DATASET_REGISTRY, evaluators=EVALUATOR_REGISTRY
)
build_trainer = _builders.build_trainer
build_dataset = _builders.build_dataset
build_evaluator = _builders.build_evaluator
check_names = _builders.check_names

__all__ = [
    "DATASET_REGISTRY",
    "EVALUATOR_REGISTRY",
    "TOOLBOX",
    "TRAINER_REGISTRY",
    "CfgNode",
    "DatasetBase",
    "EvaluatorBase",
    "TrainerX",
    "build_dataset",
    "build_evaluator",
    "build_lr_scheduler",
    "build_optimizer",
    "build_trainer",
    "check_names",
    "collect_env_info",
    "get_cfg_default",
    "load_checkpoint",
    "logging_to",
    "open_log",
    "resume_from_checkpoint",
    "save_checkpoint",
    "set_random_seed",
    "setup_logger",
]
