"""A small trainer on either toolbox: a linear classifier with dropout on random points."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from yacs.config import CfgNode

from tai_dpt.toolbox.schedule import build_lr_scheduler


class Interrupted(Exception):
    """Stops a toy run, as a killed process would."""


def toy_config(toolbox: ModuleType, folder: Any, *opts: Any) -> CfgNode:
    """A four-epoch run with warm-up and cosine decay, written to ``folder``."""
    register_evaluator(toolbox)
    cfg = toolbox.get_cfg_default()
    settings = {
        "OUTPUT_DIR": str(folder),
        "USE_CUDA": False,
        "VERBOSE": False,
        "SEED": 3,
        "OPTIM.NAME": "sgd",
        "OPTIM.LR": 0.1,
        "OPTIM.MAX_EPOCH": 4,
        "OPTIM.LR_SCHEDULER": "cosine",
        "OPTIM.WARMUP_EPOCH": 1,
        "OPTIM.WARMUP_TYPE": "constant",
        "OPTIM.WARMUP_CONS_LR": 0.001,
        "TRAIN.PRINT_FREQ": 2,
        "TRAIN.CHECKPOINT_FREQ": 1,
        "TEST.EVALUATOR": "ToyAccuracy",
    }
    settings |= dict(zip(opts[::2], opts[1::2], strict=True))
    for key, value in settings.items():
        cfg.merge_from_list([key, value])
    return cfg


def register_evaluator(toolbox: ModuleType) -> None:
    """``ToyAccuracy``: the share of points whose highest score is their label's."""

    class ToyAccuracy(toolbox.EvaluatorBase):  # type: ignore[name-defined]
        def __init__(self, cfg: CfgNode, lab2cname: Any = None) -> None:
            super().__init__(cfg)

        def reset(self) -> None:
            self.right = self.total = 0

        def process(self, mo: Tensor, gt: Tensor) -> None:
            self.right += int((mo.argmax(1) == gt).sum())
            self.total += len(gt)

        def evaluate(self) -> dict[str, float]:
            accuracy = 100 * self.right / self.total
            print(f"=> result\n* accuracy: {accuracy:.1f}%")
            return {"accuracy": accuracy}

    toolbox.EVALUATOR_REGISTRY.register(ToyAccuracy, force=True)


def points(seed: int, count: int) -> TensorDataset:
    """Random points, labelled by their largest coordinate."""
    x = torch.randn(count, 5, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(x, x[:, :3].argmax(dim=1))


def make_trainer(toolbox: ModuleType) -> type:
    """A ``TrainerX`` of ``toolbox`` that keeps its losses, rates and hook calls."""

    class ToyTrainer(toolbox.TrainerX):  # type: ignore[name-defined]
        stop_after: int | None = None
        with_val = True

        def build_data_loader(self) -> None:
            self.calls: list[str] = ["build_data_loader"]
            self.losses: list[float] = []
            self.rates: list[float] = []
            self.train_loader_x = DataLoader(points(0, 40), batch_size=10, shuffle=True)
            self.train_loader_u = None
            self.val_loader = DataLoader(points(1, 20), batch_size=8) if self.with_val else None
            self.test_loader = DataLoader(points(2, 20), batch_size=8)
            self.num_classes, self.num_source_domains = 3, 1
            self.lab2cname = {0: "cat", 1: "dog", 2: "cow"}

        def build_model(self) -> None:
            self.calls.append("build_model")
            self.model = nn.Sequential(nn.Dropout(0.2), nn.Linear(5, self.num_classes))
            self.optim = toolbox.build_optimizer(self.model, self.cfg.OPTIM)
            self.sched = build_lr_scheduler(self.optim, self.cfg.OPTIM)
            self.register_model("prompt_learner", self.model, self.optim, self.sched)

        def before_train(self) -> None:
            super().before_train()
            self.calls.append("before_train")

        def after_epoch(self) -> None:
            super().after_epoch()
            self.calls.append(f"after_epoch {self.epoch}")
            if self.stop_after == self.epoch + 1:
                raise Interrupted

        def after_train(self) -> None:
            super().after_train()
            self.calls.append("after_train")

        def parse_batch_test(self, batch: Any) -> tuple[Tensor, Tensor]:
            return batch[0], batch[1]

        def forward_backward(self, batch: Any) -> dict[str, float]:
            loss = F.cross_entropy(self.model(batch[0]), batch[1])
            self.rates.append(self.get_current_lr())
            self.model_backward_and_update(loss)
            self.losses.append(loss.item())
            if self.batch_idx + 1 == self.num_batches:
                self.update_lr()
            return {"loss": loss.item()}

    return ToyTrainer
