"""TaI-DPT: a global and a local prompt learned from captions alone (paper, section 3)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from tai_dpt.features import AnyFeatures
from tai_dpt.scoring.class_sampling import ClassDraw
from tai_dpt.scoring.losses import ranking_loss
from tai_dpt.scoring.scores import Scores, score
from tai_dpt.toolbox import TRAINER_REGISTRY
from tai_dpt.trainers.caption_trainer import CAPTION_OPTIONS, CaptionTrainer
from tai_dpt.trainers.prompt_trainer import PROMPT_OPTIONS


@TRAINER_REGISTRY.register()
class TaIDPT(CaptionTrainer):
    """Captions are scored in training just as images are in testing.

    The global scores alone (``TEST.PREDICTION global``) are the paper's *TaI*: the two prompts
    share no parameter and have a loss each, so one run trains both methods.
    """

    default_options = (
        PROMPT_OPTIONS
        | CAPTION_OPTIONS
        | {
            "SCALE": 4.0,  # κ
            "SHARPNESS_TEXT": 50.0,  # β on captions, 1 / τ_s
            "SHARPNESS_IMAGE": 40.0,  # β on images: 40 for VOC2007 and COCO, 4 for NUS-WIDE
            "MARGIN": 1.0,  # m of the ranking loss
        }
    )

    def context_names(self) -> tuple[str, ...]:
        """The global prompt alone (*TaI*) where a caption's words have no features to learn a
        local one from; the places of an image are then compared with the global one."""
        return ("global", "local") if self.backbone.text.every_token else ("global",)

    def local_prompt(self) -> str:
        return self.context_names()[-1]

    def scores(
        self, features: AnyFeatures, learned: Mapping[str, Tensor], *, training: bool
    ) -> Scores:
        """Equations 3 and 4 of the paper: cosines with the global prompt, and with the local one
        gathered over words or places by a softmax; ``SCALE`` times each, and their sum."""
        options = self.options
        return score(
            features,
            learned["global"],
            learned[self.local_prompt()],
            scale=options.SCALE,
            sharpness=options.SHARPNESS_TEXT if training else options.SHARPNESS_IMAGE,
        )

    def loss_parts(
        self, scores: Scores, labels: Tensor, draw: ClassDraw | None
    ) -> dict[str, Tensor]:
        """Equation 5 of the paper, of the global scores, and of the local ones."""
        how = {"margin": self.options.MARGIN, "weights": draw.pair_weights if draw else None}
        parts = {"loss_global": ranking_loss(scores.global_, labels, **how)}
        if "local" in self.context_names():
            parts["loss_local"] = ranking_loss(scores.local, labels, **how)
        return parts

    def score_scale(self) -> float:
        return float(self.options.SCALE)

    def concept_constants(self, learned: Mapping[str, Tensor]) -> dict[str, float | Tensor]:
        return {"scale": self.options.SCALE, "sharpness": self.options.SHARPNESS_IMAGE}
