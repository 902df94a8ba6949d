"""Optimizers by the names and options of Dassl's ``OPTIM`` section."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn
from yacs.config import CfgNode

from tai_dpt.errors import InputError, unknown


def _adaptive(optim: CfgNode) -> dict[str, Any]:
    return {"betas": (optim.ADAM_BETA1, optim.ADAM_BETA2)}


_BUILDERS: dict[str, Callable[[Any, CfgNode, dict[str, Any]], torch.optim.Optimizer]] = {
    "adam": lambda p, o, common: torch.optim.Adam(p, **common, **_adaptive(o)),
    "amsgrad": lambda p, o, common: torch.optim.Adam(p, **common, **_adaptive(o), amsgrad=True),
    "sgd": lambda p, o, common: torch.optim.SGD(
        p,
        **common,
        momentum=o.MOMENTUM,
        dampening=o.SGD_DAMPNING,
        nesterov=o.SGD_NESTEROV,
    ),
    "rmsprop": lambda p, o, common: torch.optim.RMSprop(
        p, **common, momentum=o.MOMENTUM, alpha=o.RMSPROP_ALPHA
    ),
    # Dassl's own RAdam decays weights apart from the gradient
    "radam": lambda p, o, common: torch.optim.RAdam(
        p, **common, **_adaptive(o), decoupled_weight_decay=True
    ),
    "adamw": lambda p, o, common: torch.optim.AdamW(p, **common, **_adaptive(o)),
}


def build_optimizer(
    model: nn.Module | Iterable[Any],
    optim_cfg: CfgNode,
    param_groups: Sequence[dict[str, Any]] | None = None,
) -> torch.optim.Optimizer:
    """The optimizer ``cfg.OPTIM`` names, over a model, parameters, or ``param_groups``.

    Raises InputError for an unknown name, and for ``STAGED_LR``, which only stock Dassl has.
    """
    if optim_cfg.NAME not in _BUILDERS:
        raise unknown("optimizer (OPTIM.NAME)", optim_cfg.NAME, _BUILDERS)
    if optim_cfg.STAGED_LR:
        raise InputError(
            "OPTIM.STAGED_LR (other rates for other layers) needs stock Dassl; prompts have no "
            "layers"
        )
    parameters: Any = param_groups
    if parameters is None:
        parameters = model.parameters() if isinstance(model, nn.Module) else model
    common = {"lr": optim_cfg.LR, "weight_decay": optim_cfg.WEIGHT_DECAY}
    return _BUILDERS[optim_cfg.NAME](parameters, optim_cfg, common)
