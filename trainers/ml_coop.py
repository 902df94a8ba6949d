"""CoOp for many labels: TaI-DPT's prompts learned from labelled images (paper, figure 6)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from yacs.config import CfgNode

from tai_dpt.features import AnyFeatures
from tai_dpt.prompts.learner import PromptLearner, adapt_state_dict
from tai_dpt.scoring.losses import ranking_loss
from tai_dpt.scoring.scores import Scores, global_scores, score
from tai_dpt.toolbox import TRAINER_REGISTRY, build_lr_scheduler, build_optimizer
from tai_dpt.trainers.image_trainer import ImageTrainer
from tai_dpt.trainers.multilabel import Scorer
from tai_dpt.trainers.prompt_trainer import build_prompt_learner, check_prompt_options


@TRAINER_REGISTRY.register()
class MLCoOp(ImageTrainer):
    """A global prompt, and with ``LOCAL`` a local one, by the ranking loss over known labels.

    It is TaI-DPT with images in the captions' place: the same prompts, scores and loss. Without
    the local prompt all three kinds of scores are the global ones.
    """

    options_name = "MLCOOP"
    model: PromptLearner

    def check_cfg(self, cfg: CfgNode) -> None:
        super().check_cfg(cfg)
        check_prompt_options(cfg, self.options_name)

    def build_model(self) -> None:
        names = ("global", "local") if self.options.LOCAL else ("global",)
        self.model = build_prompt_learner(self, names=names)
        self.optim = build_optimizer(self.model, self.cfg.OPTIM)
        self.sched = build_lr_scheduler(self.optim, self.cfg.OPTIM)
        self.register_model("prompt_learner", self.model, self.optim, self.sched)

    def adapt_state_dict(self, name: str, state_dict: dict[str, Any]) -> dict[str, Any]:
        if not self.options.LOCAL and "ctx" in state_dict:  # one of CoOp's checkpoints
            return {**self.model.state_dict(), "ctx_global": state_dict["ctx"]}
        return adapt_state_dict(self.model, state_dict)

    def forward_backward(self, batch: dict[str, Any]) -> dict[str, float]:
        scores = self._score(batch["features"], self.model())
        parts = {"loss_global": self._loss(scores.global_, batch["label"])}
        if self.options.LOCAL:
            parts["loss_local"] = self._loss(scores.local, batch["label"])
        loss = torch.stack(list(parts.values())).sum()
        self.model_backward_and_update(loss)
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        return self.logged({"loss": loss, **parts})

    def _loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        # an unknown label is no negative: at -inf it violates no margin
        known = scores.masked_fill(labels == 0, -math.inf)
        return ranking_loss(known, labels, margin=self.options.MARGIN)

    def scorer(self) -> Scorer:
        embeddings = {name: value.detach() for name, value in self.model().items()}
        return lambda features: self._score(features, embeddings)

    def _score(self, features: AnyFeatures, embeddings: dict[str, Tensor]) -> Scores:
        scale = self.options.SCALE
        if not self.options.LOCAL:
            only = global_scores(features.global_, embeddings["global"], scale=scale)
            return Scores(only, only)
        return score(
            features,
            embeddings["global"],
            embeddings["local"],
            scale=scale,
            sharpness=self.options.SHARPNESS,
        )
