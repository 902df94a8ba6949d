"""CoMC: a linear head learned from noisy caption features (ICML 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tai_dpt import distributed
from tai_dpt.prompts.learner import OfClasses
from tai_dpt.scoring.linear_head import add_noise
from tai_dpt.scoring.losses import ranking_loss
from tai_dpt.scoring.methods import Head, Learned
from tai_dpt.scoring.scores import Scoring
from tai_dpt.toolbox import TRAINER_REGISTRY, build_lr_scheduler, build_optimizer
from tai_dpt.trainers.caption_trainer import caption_loader
from tai_dpt.trainers.class_texts import IMAGENET, template_embeddings
from tai_dpt.trainers.features import FeatureLoader
from tai_dpt.trainers.multilabel import MultiLabelTrainer, Scorer


class LinearHead(OfClasses, nn.Linear):
    """``W`` (C, D), a row a class."""

    def __init__(self, width: int, class_names: Sequence[str]) -> None:
        super().__init__(width, len(class_names), bias=False)
        self.class_names = list(class_names)


@TRAINER_REGISTRY.register()
class CoMC(MultiLabelTrainer):
    """``z = W x`` of caption features with noise; no text encoder runs in training.

    In a test an image's feature is first moved towards the texts that it resembles.
    """

    default_options: ClassVar = {
        "PREC": "fp32",  # fp32, bf16, fp16 or auto
        "NOISE": 0.1,  # deviation of what is added to caption features
        "MARGIN": 1.0,  # of the ranking loss
        "TOWARDS_TEXT": 0.3,  # weight of the texts that an image resembles
        "TEXT_SCALE": 100.0,  # sharpness of the resemblance
    }

    reads_captions = True
    model: LinearHead

    def build_train_loader(self) -> FeatureLoader:
        return caption_loader(self)

    def training_cardinality(self) -> float:
        return self.dataset.corpus.cardinality

    def build_model(self) -> None:
        names = self.dataset.classnames
        self.class_embeddings = template_embeddings(self.backbone, names, IMAGENET)
        self.model = LinearHead(self.backbone.embed_dim, names)
        generator = torch.Generator().manual_seed(max(self.cfg.SEED, 0))
        with torch.no_grad():
            self.model.weight.normal_(std=0.01, generator=generator)
        self.model.to(self.device)
        self.optim = build_optimizer(self.model, self.cfg.OPTIM)
        self.sched = build_lr_scheduler(self.optim, self.cfg.OPTIM)
        self.register_model("linear_head", self.model, self.optim, self.sched)

    def forward_backward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        noisy = add_noise(
            batch["features"].global_,
            self.options.NOISE,
            generator=self.step_generator("noise", rank=distributed.rank()),
        )
        loss = ranking_loss(noisy @ self.model.weight.T, batch["label"], margin=self.options.MARGIN)
        self.model_backward_and_update(loss)
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        return self.logged({"loss": loss})

    def learned(self) -> Learned:
        method = Head(towards_text=self.options.TOWARDS_TEXT, text_scale=self.options.TEXT_SCALE)
        tensors = {"head": self.model.weight.detach(), "templates": self.class_embeddings}
        return Learned(method, tensors, Scoring(scale=self.score_scale()))

    def scorer(self) -> Scorer:
        return self.learned().scores
