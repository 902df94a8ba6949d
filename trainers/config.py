"""The options of this plug-in, added to Dassl's defaults."""

from __future__ import annotations

import copy

from yacs.config import CfgNode

from tai_dpt.datasets.config import extend_dataset_cfg
from tai_dpt.toolbox import TRAINER_REGISTRY, get_cfg_default


def default_config() -> CfgNode:
    """Every option with its default value."""
    cfg = get_cfg_default()
    extend_cfg(cfg)
    return cfg


def extend_cfg(cfg: CfgNode) -> None:
    """Add every option of this plug-in; call it where a CoOp-style script extends its config.

    A trainer's own stand in its file: the ``default_options`` of every registered trainer that
    has some become ``TRAINER.<NAME IN CAPITALS>``.

    It empties ``INPUT.SIZE``, ``INTERPOLATION``, ``PIXEL_MEAN`` and ``PIXEL_STD``, which here only
    count where a yaml file or a flag sets them. A trainer of Dassl or CoOp that runs from the same
    script needs them set, as CoOp's yaml files do.
    """
    extend_dataset_cfg(cfg)

    cfg.TEST.EVALUATOR = "MultiLabelEvaluator"  # Dassl's own rate one label an image
    # Which scores the printed mAP is of; results.json has all three.
    cfg.TEST.PREDICTION = "merged"
    # An image's scores by each other: none, centre, standardise or softmax. Never chosen on test.
    cfg.TEST.RECTIFY = "none"

    # Local image features of vision transformers: qq (what "" means), qk, value or neighbours.
    # Prompts learned from captions do not depend on it: a test may choose another one.
    cfg.MODEL.BACKBONE.DENSE = ""

    for name in TRAINER_REGISTRY.registered_names():
        options = getattr(TRAINER_REGISTRY.get(name), "default_options", None)
        if options is not None:
            cfg.TRAINER[name.upper()] = CfgNode(copy.deepcopy(dict(options)))
