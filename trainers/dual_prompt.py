"""DualPrompt: a second prompt says what often stands beside a class (ICLR 2026)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from tai_dpt.features import AnyFeatures
from tai_dpt.scoring.cooccurrence import (
    companions,
    conditional_frequencies,
    often_includes_prompts,
)
from tai_dpt.scoring.scores import Scores, score
from tai_dpt.toolbox import TRAINER_REGISTRY
from tai_dpt.trainers.class_texts import template_embeddings, text_embeddings
from tai_dpt.trainers.multilabel import Scorer
from tai_dpt.trainers.untrained_trainer import UntrainedTrainer


@TRAINER_REGISTRY.register()
class DualPrompt(UntrainedTrainer):
    """``p(c | first prompt) + p(c | second prompt)``, softmax over the classes.

    Which classes go together is counted in the captions.
    """

    default_options: ClassVar = {
        "PREC": "fp32",  # fp32, bf16, fp16 or auto
        "TEMPLATE": "a photo of a {}.",
        "COMPANIONS": 2,  # at most so many beside a class
        "FREQUENCY": 0.05,  # least P(companion | class) in the captions
    }
    position_embedding = reads_captions = True

    def build_model(self) -> None:
        options, names = self.options, list(self.dataset.classnames)
        frequencies = conditional_frequencies(self.dataset.corpus.captions.labels)
        beside = companions(frequencies, at_least=options.FREQUENCY, most=options.COMPANIONS)
        spoken = [name.replace("_", " ") for name in names]
        self.first = template_embeddings(self.backbone, names, options.TEMPLATE)
        self.second = text_embeddings(self.backbone, often_includes_prompts(spoken, beside))

    def scorer(self) -> Scorer:
        scale = self.backbone.logit_scale

        def probabilities(features: AnyFeatures, embeddings: Tensor) -> list[Tensor]:
            scores = score(features, embeddings, embeddings, scale=scale, sharpness=scale)
            kinds = (scores.global_, scores.local, scores.merged)
            return [kind.softmax(dim=1) for kind in kinds]

        def score_features(features: AnyFeatures) -> Scores:
            first = probabilities(features, self.first)
            second = probabilities(features, self.second)
            return Scores(*(one + two for one, two in zip(first, second, strict=True)))

        return score_features
