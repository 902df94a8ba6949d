"""Concepts: what captions that name a class have in common; nothing is learned."""

from __future__ import annotations

from typing import ClassVar

from tai_dpt.features import StorePlan
from tai_dpt.scoring.concepts import ContextTable, context_guided_scores
from tai_dpt.scoring.methods import Learned, Prompts
from tai_dpt.scoring.scores import Scoring
from tai_dpt.toolbox import TRAINER_REGISTRY
from tai_dpt.trainers.class_texts import caption_concepts, caption_features
from tai_dpt.trainers.multilabel import Scorer
from tai_dpt.trainers.untrained_trainer import UntrainedTrainer


@TRAINER_REGISTRY.register()
class Concepts(UntrainedTrainer):
    """A class's embedding is the mean of the captions that name it (contextual text, 2024).

    With ``CONTEXT_GUIDED`` images are looked at through the captions that they resemble, which
    takes memory for ``TABLE`` captions and about a thousand times the time of plain scores.
    """

    default_options: ClassVar = {
        "PREC": "fp32",  # fp32, bf16, fp16 or auto
        "SCALE": 4.0,  # κ
        "SHARPNESS_IMAGE": 40.0,  # β on images
        "CONTEXT_GUIDED": False,
        "TABLE": 64000,  # captions in the table, a cube of them: 40³
        "ALPHA_GLOBAL": 80.0,  # COCO 80 and 40, VOC2007 60 and 30, NUS-WIDE 40 and 20
        "ALPHA_LOCAL": 40.0,
    }
    reads_captions = True

    def build_model(self) -> None:
        options, captions = self.options, self.captions.open()
        self.concepts = caption_concepts(self.backbone, self.dataset, captions)
        self.table = None
        if options.CONTEXT_GUIDED:
            seed = max(self.cfg.SEED, 0)
            features = caption_features(
                self.dataset.corpus, captions, most=options.TABLE, seed=seed
            )
            self.table = ContextTable.of(features.to(self.backbone.device), seed=seed)

    def kept_features(self) -> list[StorePlan]:
        return [self.captions, *super().kept_features()]

    def training_cardinality(self) -> float:
        return self.dataset.corpus.cardinality

    def score_scale(self) -> float:
        return 1.0 if self.options.CONTEXT_GUIDED else self.options.SCALE

    def learned(self) -> Learned | None:
        """None with ``CONTEXT_GUIDED``: a tagger keeps no table of captions."""
        return None if self.table is not None else self._plain()

    def _plain(self) -> Learned:
        options = self.options
        scoring = Scoring(scale=options.SCALE, sharpness_image=options.SHARPNESS_IMAGE)
        tensors = {"global": self.concepts, "local": self.concepts}
        return Learned(Prompts("concepts"), tensors, scoring)

    def scorer(self) -> Scorer:
        options, table = self.options, self.table
        if table is None:
            return self._plain().scores
        return lambda features: context_guided_scores(
            features,
            self.concepts,
            table,
            sharpness_global=options.ALPHA_GLOBAL,
            sharpness_local=options.ALPHA_LOCAL,
        )
