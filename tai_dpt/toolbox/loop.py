"""What Dassl's ``TrainerX`` is to a trainer, on the embedded side of the door.

The hooks that a trainer fills in or overrides, the models it registers, and one step's parts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from tai_dpt.device import choose_device
from tai_dpt.toolbox.building import NameRegistry


class EpochLoop:
    """Builds data, model and evaluator from a config, then runs epochs over ``train_loader_x``."""

    evaluators: NameRegistry
    train_loader_x: Any
    train_loader_u: Any
    val_loader: Any
    test_loader: Any
    num_classes: int
    num_source_domains: int
    lab2cname: Mapping[int, str]
    dm: Any
    model: nn.Module
    batch_idx: int
    num_batches: int
    time_start: float

    def __init__(self, cfg: CfgNode) -> None:
        self._models: dict[str, nn.Module] = {}
        self._optims: dict[str, Any] = {}
        self._scheds: dict[str, Any] = {}
        self._writer: Any = None
        self.check_cfg(cfg)
        self.device = choose_device("auto" if cfg.USE_CUDA else "cpu")
        self.start_epoch = self.epoch = 0
        self.max_epoch: int = cfg.OPTIM.MAX_EPOCH
        self.output_dir: str = cfg.OUTPUT_DIR
        self.cfg = cfg
        self.build_data_loader()
        self.build_model()
        self.evaluator = self.evaluators.get(cfg.TEST.EVALUATOR)(cfg, lab2cname=self.lab2cname)
        self.best_result = -math.inf

    def check_cfg(self, cfg: CfgNode) -> None:
        """Raise an error for options this trainer cannot use; by default all are fine."""

    def build_data_loader(self) -> None:
        """Set the loaders and the classes."""
        raise NotImplementedError

    def build_model(self) -> None:
        """Build the model and register what is trained."""
        raise NotImplementedError

    # -- registered models ---------------------------------------------------------------------

    def register_model(
        self, name: str = "model", model: Any = None, optim: Any = None, sched: Any = None
    ) -> None:
        """Have ``model`` saved, loaded, switched and stepped under ``name``."""
        if "_models" not in self.__dict__:
            raise AttributeError("call super().__init__(cfg) before register_model")
        if name in self._models:
            raise ValueError(f"a model called '{name}' is registered already")
        self._models[name], self._optims[name], self._scheds[name] = model, optim, sched

    def get_model_names(self, names: str | list[str] | None = None) -> list[str]:
        """All registered names, or ``names`` as a list once each is known to be registered."""
        if names is None:
            return list(self._models)
        names = names if isinstance(names, list) else [names]
        for name in names:
            if name not in self._models:
                raise ValueError(f"no model '{name}' is registered, only {list(self._models)}")
        return names

    def set_model_mode(self, mode: str = "train", names: str | list[str] | None = None) -> None:
        """Put the models in ``train`` or in ``eval`` (also ``test``) mode."""
        if mode not in ("train", "eval", "test"):
            raise KeyError(f"mode '{mode}'; valid: train, eval, test")
        for name in self.get_model_names(names):
            self._models[name].train(mode == "train")

    def update_lr(self, names: str | list[str] | None = None) -> None:
        """Step the schedules: once an epoch, by the trainer, after its last batch."""
        for name in self.get_model_names(names):
            if self._scheds[name] is not None:
                self._scheds[name].step()

    def get_current_lr(self, names: str | list[str] | None = None) -> float:
        """The rate of the first parameter group of the first model."""
        return self._optims[self.get_model_names(names)[0]].param_groups[0]["lr"]

    # -- one step ------------------------------------------------------------------------------

    def detect_anomaly(self, loss: Tensor) -> None:
        """Raise FloatingPointError if the loss is infinite or NaN."""
        if not torch.isfinite(loss).all():
            raise FloatingPointError("Loss is infinite or NaN!")

    def model_zero_grad(self, names: str | list[str] | None = None) -> None:
        """Clear the gradients."""
        for name in self.get_model_names(names):
            if self._optims[name] is not None:
                self._optims[name].zero_grad()

    def model_backward(self, loss: Tensor) -> None:
        """Check the loss and compute gradients."""
        self.detect_anomaly(loss)
        loss.backward()

    def model_update(self, names: str | list[str] | None = None) -> None:
        """Step the optimizers."""
        for name in self.get_model_names(names):
            if self._optims[name] is not None:
                self._optims[name].step()

    def model_backward_and_update(self, loss: Tensor, names: str | list[str] | None = None) -> None:
        """Clear gradients, compute them, step the optimizers."""
        self.model_zero_grad(names)
        self.model_backward(loss)
        self.model_update(names)

    def parse_batch_test(self, batch: Mapping[str, Any]) -> Any:
        """The model's input and the ground truth: here image and label."""
        return batch["img"].to(self.device), batch["label"].to(self.device)

    def forward_backward(self, batch: Any) -> Mapping[str, float | Tensor]:
        """One training step; returns what the log shows, by name. A trainer defines it."""
        raise NotImplementedError

    def model_inference(self, input: Any) -> Any:
        """The model's output for a test batch's input."""
        return self.model(input)

    # -- the run -------------------------------------------------------------------------------

    def train(self) -> None:
        """``before_train``, the epochs, ``after_train``."""
        self.before_train()
        for epoch in range(self.start_epoch, self.max_epoch):
            self.epoch = epoch
            self.before_epoch()
            self.run_epoch()
            self.after_epoch()
        self.after_train()

    def before_train(self) -> None:
        """Before the first epoch; sets ``start_epoch`` when resuming."""

    def after_train(self) -> None:
        """After the last epoch."""

    def before_epoch(self) -> None:
        """Before each epoch."""

    def run_epoch(self) -> None:
        """One pass over ``train_loader_x``."""
        raise NotImplementedError

    def after_epoch(self) -> None:
        """After each epoch."""

    def test(self, split: str | None = None) -> float:
        """Evaluate."""
        raise NotImplementedError

    def write_scalar(self, tag: str, scalar_value: float, global_step: int | None = None) -> None:
        """Write a scalar, if a writer is open."""
        if self._writer is not None:
            self._writer.add_scalar(tag, scalar_value, global_step)
