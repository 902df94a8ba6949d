"""Learning-rate schedules of Dassl's ``OPTIM`` section, as functions of the epoch.

Dassl chains a warm-up scheduler to a torch scheduler. On current torch that raises a TypeError
(``verbose`` is gone), and its state pickles the chained object, which a safe load refuses. Here
the rate is a closed form of the epoch, so the state is an epoch number and resuming is exact.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from yacs.config import CfgNode

from tai_dpt.errors import InputError, unknown

SCHEDULES = ("single_step", "multi_step", "cosine")
WARMUPS = ("constant", "linear")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Warm-up, then decay. Epoch 0 is the rate of the first epoch.

    ``warmup_rate`` is the constant rate, or the first epoch's rate of a linear warm-up (whose
    later epochs ``e`` use ``base * e / warmup_epochs``). With ``recount`` the decay starts at its
    own epoch 0 after the warm-up; without, it goes on from epoch ``warmup_epochs``, relative to
    the base rate. Either way the first epoch after the warm-up has the base rate.
    """

    decay: Literal["steps", "cosine"]
    max_epoch: int
    step: int = 0  # every so many epochs; 0: at the milestones
    milestones: tuple[int, ...] = ()
    gamma: float = 1.0
    warmup: Literal["constant", "linear"] = "constant"
    warmup_epochs: int = 0
    warmup_rate: float = 0.0
    recount: bool = True

    def rate(self, base: float, epoch: int) -> float:
        """The learning rate of ``epoch`` for a parameter group whose base rate is ``base``."""
        if epoch < self.warmup_epochs:
            if self.warmup == "constant" or epoch == 0:
                return self.warmup_rate
            return base * epoch / self.warmup_epochs
        start = 0 if self.recount else self.warmup_epochs
        first = self.gamma ** self._steps_until(0)  # a milestone may stand at epoch 0
        return base * first * self._decay(start, start + epoch - self.warmup_epochs)

    def _decay(self, start: int, end: int) -> float:
        if start == end:
            return 1.0
        if self.decay == "cosine":
            return self._cosine(end) / self._cosine(start)
        return self.gamma ** (self._steps_until(end) - self._steps_until(start))

    def _cosine(self, epoch: int) -> float:
        return (1.0 + math.cos(math.pi * epoch / self.max_epoch)) / 2.0

    def _steps_until(self, epoch: int) -> int:
        if self.decay == "cosine":
            return 0
        if self.step:
            return epoch // self.step
        return bisect_right(self.milestones, epoch)


class EpochScheduler(LRScheduler):
    """A ``Schedule`` on an optimizer; ``step`` once an epoch. Its state holds plain values."""

    def __init__(self, optimizer: Optimizer, *, schedule: Schedule) -> None:
        self.schedule = schedule
        super().__init__(optimizer)

    def get_lr(self) -> list[Any]:
        """The rate of every parameter group at the present epoch."""
        return [self.schedule.rate(float(base), self.last_epoch) for base in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """``last_epoch`` and the groups' base and last rates: integers and floats only."""
        return {
            "last_epoch": int(self.last_epoch),
            "base_lrs": [float(base) for base in self.base_lrs],
            "_last_lr": [float(rate) for rate in self.get_last_lr()],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go to the epoch of ``state_dict`` and set the optimizer's rates to that epoch's."""
        self.last_epoch = int(state_dict["last_epoch"])
        self.base_lrs = [float(base) for base in state_dict["base_lrs"]]
        self._last_lr = self.get_lr()
        for group, rate in zip(self.optimizer.param_groups, self._last_lr, strict=True):
            group["lr"] = rate


def build_lr_scheduler(optimizer: Optimizer, optim_cfg: CfgNode) -> EpochScheduler:
    """The schedule that ``cfg.OPTIM`` describes, on ``optimizer``.

    Raises InputError for an unknown ``LR_SCHEDULER`` or ``WARMUP_TYPE``, and for a ``STEPSIZE``
    or ``MAX_EPOCH`` the schedule cannot use.
    """
    return EpochScheduler(optimizer, schedule=read_schedule(optim_cfg))


def read_schedule(optim_cfg: CfgNode) -> Schedule:
    """``cfg.OPTIM`` as a ``Schedule``; errors as in ``build_lr_scheduler``."""
    name, max_epoch = optim_cfg.LR_SCHEDULER, optim_cfg.MAX_EPOCH
    if name not in SCHEDULES:
        raise unknown("schedule (OPTIM.LR_SCHEDULER)", name, SCHEDULES)
    if max_epoch < 1:
        raise InputError(f"OPTIM.MAX_EPOCH is {max_epoch}; it must be 1 or more")

    settings: dict[str, Any] = {"decay": "cosine" if name == "cosine" else "steps"}
    if name != "cosine":
        settings |= _steps(name, optim_cfg.STEPSIZE, max_epoch) | {"gamma": optim_cfg.GAMMA}
    if optim_cfg.WARMUP_EPOCH > 0:
        warmup = optim_cfg.WARMUP_TYPE
        if warmup not in WARMUPS:
            raise unknown("warm-up (OPTIM.WARMUP_TYPE)", warmup, WARMUPS)
        constant = warmup == "constant"
        settings |= {
            "warmup": warmup,
            "warmup_epochs": optim_cfg.WARMUP_EPOCH,
            "warmup_rate": optim_cfg.WARMUP_CONS_LR if constant else optim_cfg.WARMUP_MIN_LR,
            "recount": optim_cfg.WARMUP_RECOUNT,
        }
    return Schedule(max_epoch=max_epoch, **settings)


def _steps(name: str, stepsize: Any, max_epoch: int) -> dict[str, Any]:
    values = list(stepsize) if isinstance(stepsize, list | tuple) else [stepsize]
    if not values or not all(isinstance(value, int) for value in values):
        raise InputError(
            f"OPTIM.STEPSIZE is {stepsize!r}; {name} takes whole numbers of epochs, like (10,)"
        )
    if name == "single_step":
        return {"step": values[-1] if values[-1] > 0 else max_epoch}
    return {"milestones": tuple(sorted(value for value in values if value >= 0))}
