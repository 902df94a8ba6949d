"""Zero-shot CLIP, global and dense: the baselines of the paper's table 1."""

from __future__ import annotations

from typing import ClassVar

from tai_dpt.scoring.methods import Learned, Prompts
from tai_dpt.scoring.scores import Scoring
from tai_dpt.toolbox import TRAINER_REGISTRY
from tai_dpt.trainers.class_texts import template_embeddings
from tai_dpt.trainers.multilabel import Scorer
from tai_dpt.trainers.untrained_trainer import UntrainedTrainer


@TRAINER_REGISTRY.register()
class ZSCLIP(UntrainedTrainer):
    """Class embeddings of one template; nothing is learned.

    ``TEST.PREDICTION`` ``global`` is the table's *ZSCLIP*, ``merged`` its *ZSCLIP + DPT*.
    CLIP's own logit scale is both the scale and the sharpness.
    """

    default_options: ClassVar = {
        "TEMPLATE": "a photo of a {}.",  # or "imagenet": the mean of the 80 published with CLIP
        "PREC": "fp32",  # fp32, bf16, fp16 or auto
    }
    position_embedding = True

    def build_model(self) -> None:
        self.embeddings = template_embeddings(
            self.backbone, self.dataset.classnames, self.options.TEMPLATE
        )

    def score_scale(self) -> float:
        return self.backbone.logit_scale

    def learned(self) -> Learned:
        scale = self.score_scale()
        scoring = Scoring(
            scale=scale, sharpness_image=scale, position_embedding=self.position_embedding
        )
        tensors = {"global": self.embeddings, "local": self.embeddings}
        return Learned(Prompts(), tensors, scoring)

    def scorer(self) -> Scorer:
        return self.learned().scores
