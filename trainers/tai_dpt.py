"""TaI-DPT: a global and a local prompt learned from captions alone (paper, section 3)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from tai_dpt.features import AnyFeatures
from tai_dpt.scoring.losses import ranking_loss
from tai_dpt.scoring.scores import Scores, score
from tai_dpt.toolbox import TRAINER_REGISTRY
from tai_dpt.trainers.caption_trainer import CaptionTrainer
from tai_dpt.trainers.prompt_trainer import PROMPT_OPTIONS


@TRAINER_REGISTRY.register()
class TaIDPT(CaptionTrainer):
    """Captions are scored in training just as images are in testing.

    The global scores alone (``TEST.PREDICTION global``) are the paper's *TaI*: the two prompts
    share no parameter and have a loss each, so one run trains both methods.
    """

    default_options = PROMPT_OPTIONS | {
        "SCALE": 4.0,  # κ
        "SHARPNESS_TEXT": 50.0,  # β on captions, 1 / τ_s
        "SHARPNESS_IMAGE": 40.0,  # β on images: 40 for VOC2007 and COCO, 4 for NUS-WIDE
        "MARGIN": 1.0,  # m of the ranking loss
    }

    def scores(
        self, features: AnyFeatures, learned: Mapping[str, Tensor], *, training: bool
    ) -> Scores:
        options = self.options
        return score(
            features,
            learned["global"],
            learned["local"],
            scale=options.SCALE,
            sharpness=options.SHARPNESS_TEXT if training else options.SHARPNESS_IMAGE,
        )

    def loss_parts(self, scores: Scores, labels: Tensor) -> dict[str, Tensor]:
        margin = self.options.MARGIN
        return {
            "loss_global": ranking_loss(scores.global_, labels, margin=margin),
            "loss_local": ranking_loss(scores.local, labels, margin=margin),
        }
