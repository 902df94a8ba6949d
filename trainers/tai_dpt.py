"""TaI-DPT: a global and a local prompt learned from captions alone (paper, section 3)."""

from __future__ import annotations

from typing import Any

import torch
from yacs.config import CfgNode

from tai_dpt import distributed
from tai_dpt.errors import InputError, unknown
from tai_dpt.features import AnyFeatures
from tai_dpt.losses import ranking_loss
from tai_dpt.prompts import (
    CLASS_TOKEN_POSITIONS,
    PromptEncoder,
    PromptLearner,
    adapt_state_dict,
    class_tokens,
    load_contexts,
)
from tai_dpt.scoring import Scores, score
from tai_dpt.toolbox import (
    TRAINER_REGISTRY,
    build_lr_scheduler,
    build_optimizer,
    load_checkpoint,
)
from tai_dpt.trainers.features import FeatureLoader, caption_store
from tai_dpt.trainers.multilabel import MultiLabelTrainer, Scorer


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


def check_prompt_options(cfg: CfgNode, name: str) -> None:
    """Raise InputError for prompt options under ``TRAINER.<name>`` that make no prompt."""
    options = cfg.TRAINER[name]
    position = options.CLASS_TOKEN_POSITION
    if position not in CLASS_TOKEN_POSITIONS:
        raise unknown("class-token position", position, CLASS_TOKEN_POSITIONS)
    if options.N_CTX < 1:
        raise InputError(f"TRAINER.{name}.N_CTX is {options.N_CTX}; at least 1")


def build_prompt_learner(trainer: MultiLabelTrainer, *, names: tuple[str, ...]) -> PromptLearner:
    """The prompt learner that a trainer's options and ``MODEL.INIT_WEIGHTS`` describe.

    The start is drawn from ``SEED`` alone, so that it is the same on every device and toolbox.
    """
    cfg, options, backbone = trainer.cfg, trainer.options, trainer.backbone
    class_names = trainer.dataset.classnames
    n_ctx, init = options.N_CTX, None
    if options.CTX_INIT:
        tokens = backbone.tokenize([options.CTX_INIT.replace("_", " ")])[0][1:-1]
        n_ctx, init = len(tokens), backbone.text.token_table[tokens].cpu()
    encoder = PromptEncoder(
        text=backbone.text,
        classes=class_tokens(class_names, backbone.tokenize),
        start_id=backbone.tokenize([""])[0][0],
        n_ctx=n_ctx,
        csc=options.CSC,
        position=options.CLASS_TOKEN_POSITION,
        share=(distributed.rank(), distributed.world()),
    )
    generator = torch.Generator()
    if cfg.SEED >= 0:
        generator.manual_seed(cfg.SEED)
    else:
        generator.seed()
    learner = PromptLearner(
        encoder=encoder,
        names=names,
        class_names=class_names,
        n_ctx=n_ctx,
        init=init,
        generator=generator,
    ).to(trainer.device)
    if cfg.MODEL.INIT_WEIGHTS:
        load_contexts(learner, load_checkpoint(cfg.MODEL.INIT_WEIGHTS)["state_dict"])
        print(f"Contexts start from {cfg.MODEL.INIT_WEIGHTS}")
    return learner
