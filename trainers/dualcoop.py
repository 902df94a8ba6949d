"""DualCoOp: a positive and a negative prompt of each class, from partly labelled images.

Sun, Hu and Saenko, *DualCoOp: Fast Adaptation to Multi-Label Recognition with Limited
Annotations* (NeurIPS 2022), as the paper of TaI-DPT runs it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from tai_dpt.errors import InputError
from tai_dpt.features import AnyFeatures
from tai_dpt.prompts.learner import PromptLearner, adapt_state_dict
from tai_dpt.scoring.losses import asymmetric_loss
from tai_dpt.scoring.scores import Scores, dual_scores
from tai_dpt.toolbox import TRAINER_REGISTRY, build_lr_scheduler, build_optimizer
from tai_dpt.trainers.image_trainer import ImageTrainer
from tai_dpt.trainers.multilabel import Scorer
from tai_dpt.trainers.prompt_trainer import build_prompt_learner, check_prompt_options

# the public code's names of what is learned besides the contexts
_PUBLIC_NAMES = {"temperature": "log_scale", "spatial_T": "log_sharpness"}


@TRAINER_REGISTRY.register()
class DualCoOp(ImageTrainer):
    """The local logits are trained and, with ``TEST.PREDICTION local``, predict.

    The global logits come from the same prompts and no loss; they are there to look at.
    """

    options_name = "DUALCOOP"
    model: PromptLearner

    def check_cfg(self, cfg: CfgNode) -> None:
        super().check_cfg(cfg)
        check_prompt_options(cfg, self.options_name)
        options = cfg.TRAINER.DUALCOOP
        for name in ("GAMMA_NEG", "GAMMA_POS"):
            if options[name] < 0:
                raise InputError(f"TRAINER.DUALCOOP.{name} is {options[name]}; 0 or more")
        if not 0 <= options.CLIP < 1:
            raise InputError(f"TRAINER.DUALCOOP.CLIP is {options.CLIP}; at least 0 and below 1")

    def build_model(self) -> None:
        self.model = build_prompt_learner(self, names=("positive", "negative"))
        for name, start in (
            ("log_scale", self.options.LOG_SCALE),
            ("log_sharpness", self.options.LOG_SHARPNESS),
        ):
            value = torch.tensor(float(start), device=self.device)
            self.model.register_parameter(name, nn.Parameter(value))
        self.optim = build_optimizer(self.model, self.cfg.OPTIM)
        self.sched = build_lr_scheduler(self.optim, self.cfg.OPTIM)
        self.register_model("prompt_learner", self.model, self.optim, self.sched)

    def adapt_state_dict(self, name: str, state_dict: dict[str, Any]) -> dict[str, Any]:
        renamed = {_PUBLIC_NAMES.get(key, key): value for key, value in state_dict.items()}
        return adapt_state_dict(self.model, renamed)

    def forward_backward(self, batch: dict[str, Any]) -> dict[str, float]:
        scores = self._score(batch["features"], self._learned())
        loss = asymmetric_loss(
            scores.local,
            batch["label"],
            gamma_negative=self.options.GAMMA_NEG,
            gamma_positive=self.options.GAMMA_POS,
            clip=self.options.CLIP,
        )
        self.model_backward_and_update(loss)
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        return self.logged({"loss": loss})

    def scorer(self) -> Scorer:
        learned = {name: value.detach() for name, value in self._learned().items()}
        return lambda features: self._score(features, learned)

    def _learned(self) -> dict[str, Tensor]:
        """Both prompts' class embeddings, ``κ`` and ``β``."""
        return {
            **self.model(),
            "scale": self.model.get_parameter("log_scale").exp(),
            "sharpness": self.model.get_parameter("log_sharpness").exp(),
        }

    def _score(self, features: AnyFeatures, learned: dict[str, Tensor]) -> Scores:
        return dual_scores(features, **learned)
