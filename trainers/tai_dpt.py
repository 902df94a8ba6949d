"""TaI-DPT: a global and a local prompt learned from captions alone (paper, section 3)."""

from __future__ import annotations

from typing import Any

import torch
from yacs.config import CfgNode

from tai_dpt.features import AnyFeatures
from tai_dpt.prompts.learner import (
    PromptLearner,
    adapt_state_dict,
)
from tai_dpt.scoring.losses import ranking_loss
from tai_dpt.scoring.scores import Scores, score
from tai_dpt.toolbox import (
    TRAINER_REGISTRY,
    build_lr_scheduler,
    build_optimizer,
)
from tai_dpt.trainers.features import FeatureLoader, caption_store
from tai_dpt.trainers.multilabel import MultiLabelTrainer, Scorer
from tai_dpt.trainers.prompt_trainer import build_prompt_learner, check_prompt_options


@TRAINER_REGISTRY.register()
class TaIDPT(MultiLabelTrainer):
    """Captions are scored in training just as images are in testing.

    The global scores alone (``TEST.PREDICTION global``) are the paper's *TaI*: the two prompts
    share no parameter and have a loss each, so one run trains both methods.
    """

    options_name = "TAIDPT"
    model: PromptLearner

    def check_cfg(self, cfg: CfgNode) -> None:
        super().check_cfg(cfg)
        check_prompt_options(cfg, self.options_name)

    def build_train_loader(self) -> FeatureLoader:
        corpus = self.dataset.corpus
        return FeatureLoader(
            lambda: caption_store(self.cfg, self.backbone, corpus.texts),
            torch.from_numpy(corpus.labels),
            batch_size=self.cfg.DATALOADER.TRAIN_X.BATCH_SIZE,
            device=self.device,
            shuffle_seed=max(self.cfg.SEED, 0),
        )

    def training_cardinality(self) -> float:
        return float(self.dataset.corpus.labels.sum(1).mean())

    def build_model(self) -> None:
        self.model = build_prompt_learner(self, names=("global", "local"))
        self.optim = build_optimizer(self.model, self.cfg.OPTIM)
        self.sched = build_lr_scheduler(self.optim, self.cfg.OPTIM)
        self.register_model("prompt_learner", self.model, self.optim, self.sched)

    def adapt_state_dict(self, name: str, state_dict: dict[str, Any]) -> dict[str, Any]:
        return adapt_state_dict(self.model, state_dict)

    def forward_backward(self, batch: dict[str, Any]) -> dict[str, float]:
        scores = self._score(batch["features"], self.model(), self.options.SHARPNESS_TEXT)
        margin = self.options.MARGIN
        loss_global = ranking_loss(scores.global_, batch["label"], margin=margin)
        loss_local = ranking_loss(scores.local, batch["label"], margin=margin)
        loss = loss_global + loss_local
        self.model_backward_and_update(loss)
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        return self.logged({"loss": loss, "loss_global": loss_global, "loss_local": loss_local})

    def scorer(self) -> Scorer:
        embeddings = {name: value.detach() for name, value in self.model().items()}
        sharpness = self.options.SHARPNESS_IMAGE
        return lambda features: self._score(features, embeddings, sharpness)

    def _score(
        self, features: AnyFeatures, embeddings: dict[str, torch.Tensor], sharpness: float
    ) -> Scores:
        return score(
            features,
            embeddings["global"],
            embeddings["local"],
            scale=self.options.SCALE,
            sharpness=sharpness,
        )
