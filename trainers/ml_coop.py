"""CoOp for many labels: TaI-DPT's prompts learned from labelled images (paper, figure 6)."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from tai_dpt.features import AnyFeatures
from tai_dpt.scoring.class_sampling import ClassDraw
from tai_dpt.scoring.losses import ranking_loss
from tai_dpt.scoring.scores import Scores, global_scores, score
from tai_dpt.toolbox import TRAINER_REGISTRY
from tai_dpt.trainers.image_trainer import ImageTrainer
from tai_dpt.trainers.prompt_trainer import PROMPT_OPTIONS


@TRAINER_REGISTRY.register()
class MLCoOp(ImageTrainer):
    """A global prompt, and with ``LOCAL`` a local one, by the ranking loss over known labels.

    It is TaI-DPT with images in the captions' place: the same prompts, scores and loss. Without
    the local prompt all three kinds of scores are the global ones.
    """

    default_options = PROMPT_OPTIONS | {
        "LOCAL": True,  # learn the local prompt too
        "SCALE": 4.0,  # κ
        "SHARPNESS": 40.0,  # β, in training and in testing
        "MARGIN": 1.0,  # m of the ranking loss
    }

    def context_names(self) -> tuple[str, ...]:
        return ("global", "local") if self.options.LOCAL else ("global",)

    def scores(
        self, features: AnyFeatures, learned: Mapping[str, Tensor], *, training: bool
    ) -> Scores:
        """Cosines with the global prompt, and with ``LOCAL`` those of the paper's equation 4."""
        scale = self.options.SCALE
        if not self.options.LOCAL:
            only = global_scores(features.global_, learned["global"], scale=scale)
            return Scores(only, only)
        return score(
            features,
            learned["global"],
            learned["local"],
            scale=scale,
            sharpness=self.options.SHARPNESS,
        )

    def score_scale(self) -> float:
        return float(self.options.SCALE)

    def concept_constants(self, learned: Mapping[str, Tensor]) -> dict[str, float | Tensor]:
        return {"scale": self.options.SCALE, "sharpness": self.options.SHARPNESS}

    def loss_parts(
        self, scores: Scores, labels: Tensor, draw: ClassDraw | None
    ) -> dict[str, Tensor]:
        """The ranking loss (equation 5) of the known labels."""

        def loss(kind: Tensor) -> Tensor:
            # an unknown label is no negative: at -inf it violates no margin
            hidden = (labels == 0).to(kind.device, non_blocking=True)
            known = kind.masked_fill(hidden, -math.inf)
            weights = draw.pair_weights if draw else None
            return ranking_loss(known, labels, margin=self.options.MARGIN, weights=weights)

        parts = {"loss_global": loss(scores.global_)}
        if self.options.LOCAL:
            parts["loss_local"] = loss(scores.local)
        return parts
