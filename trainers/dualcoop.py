"""DualCoOp: a positive and a negative prompt of each class, from partly labelled images.

Sun, Hu and Saenko, *DualCoOp: Fast Adaptation to Multi-Label Recognition with Limited
Annotations* (NeurIPS 2022), as the paper of TaI-DPT runs it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from tai_dpt.errors import InputError
from tai_dpt.features import AnyFeatures
from tai_dpt.scoring.class_sampling import ClassDraw
from tai_dpt.scoring.losses import asymmetric_loss
from tai_dpt.scoring.scores import Scores, dual_scores
from tai_dpt.toolbox import TRAINER_REGISTRY
from tai_dpt.trainers.image_trainer import ImageTrainer
from tai_dpt.trainers.multilabel import Scorer
from tai_dpt.trainers.prompt_trainer import PROMPT_OPTIONS


@TRAINER_REGISTRY.register()
class DualCoOp(ImageTrainer):
    """The local logits are trained and, with ``TEST.PREDICTION local``, predict.

    The global logits come from the same prompts and no loss; they are there to look at.
    """

    default_options = PROMPT_OPTIONS | {
        "CSC": True,
        "LOG_SCALE": 3.91,  # t, where it starts: κ = exp(t) is learned
        "LOG_SHARPNESS": 3.0,  # u, where it starts: β = exp(u) is learned
        "GAMMA_NEG": 2.0,  # of the asymmetric loss
        "GAMMA_POS": 1.0,
        "CLIP": 0.05,
    }

    def context_names(self) -> tuple[str, ...]:
        return ("positive", "negative")

    def learned_numbers(self) -> dict[str, float]:
        return {"log_scale": self.options.LOG_SCALE, "log_sharpness": self.options.LOG_SHARPNESS}

    def scores(
        self, features: AnyFeatures, learned: Mapping[str, Tensor], *, training: bool
    ) -> Scores:
        """DualCoOp's equation 4: logits of the positive prompts minus those of the negative,
        gathered over places by the positive ones' softmax."""
        return dual_scores(
            features,
            learned["positive"],
            learned["negative"],
            scale=learned["log_scale"].exp(),
            sharpness=learned["log_sharpness"].exp(),
        )

    def scorer(self) -> Scorer:
        """As every method's; InputError where scale or sharpness left the numbers there are."""
        for name, parameter in self.model.numbers().items():
            value = float(parameter.detach())
            if not 0 < float(parameter.detach().exp()) < math.inf:
                raise InputError(
                    f"training diverged: the learned {name} is {value:g}, so every image has the "
                    f"same scores: lower OPTIM.LR (now {self.cfg.OPTIM.LR:g})"
                )
        return super().scorer()

    def score_scale(self) -> float:
        return float(self.model.get_parameter("log_scale").detach().exp())

    def concept_constants(self, learned: Mapping[str, Tensor]) -> dict[str, float | Tensor]:
        return {
            "scale": learned["log_scale"].exp(),
            "sharpness": learned["log_sharpness"].exp(),
        }

    def loss_parts(
        self, scores: Scores, labels: Tensor, draw: ClassDraw | None
    ) -> dict[str, Tensor]:
        """DualCoOp's asymmetric loss of the known labels."""
        options = self.options
        loss = asymmetric_loss(
            scores.local,
            labels,
            gamma_negative=options.GAMMA_NEG,
            gamma_positive=options.GAMMA_POS,
            clip=options.CLIP,
            weights=draw.class_weights if draw else None,
        )
        return {"loss": loss}
