"""Zero-shot CLIP, global and dense: the baselines of the paper's table 1."""

from __future__ import annotations

from typing import ClassVar

from yacs.config import CfgNode

from tai_dpt.errors import InputError
from tai_dpt.features import AnyFeatures
from tai_dpt.scoring.scores import Scores, score
from tai_dpt.toolbox import TRAINER_REGISTRY
from tai_dpt.trainers.multilabel import MultiLabelTrainer, Scorer


@TRAINER_REGISTRY.register()
class ZSCLIP(MultiLabelTrainer):
    """Class embeddings of one template; nothing is learned.

    ``TEST.PREDICTION`` ``global`` is the table's *ZSCLIP*, ``merged`` its *ZSCLIP + DPT*.
    CLIP's own logit scale is both the scale and the sharpness.
    """

    default_options: ClassVar = {
        "TEMPLATE": "a photo of a {}.",
        "PREC": "fp32",  # fp32, bf16 or fp16
    }
    position_embedding = True

    def check_cfg(self, cfg: CfgNode) -> None:
        super().check_cfg(cfg)
        template = self.options_of(cfg).TEMPLATE
        if "{}" not in template:
            raise InputError(
                f"{self.options_key(cfg)}.TEMPLATE '{template}' has no {{}} for the name"
            )

    def build_model(self) -> None:
        template = self.options.TEMPLATE
        prompts = [template.format(name.replace("_", " ")) for name in self.dataset.classnames]
        tokens = self.backbone.tokenize(prompts)
        self.embeddings = self.backbone.encode_texts(tokens).global_  # (C, D)

    def scorer(self) -> Scorer:
        scale = self.backbone.logit_scale

        def score_features(features: AnyFeatures) -> Scores:
            return score(features, self.embeddings, self.embeddings, scale=scale, sharpness=scale)

        return score_features

    def train(self) -> None:
        """There is nothing to train: test."""
        print("Zero-shot: nothing to train")
        if not self.cfg.TEST.NO_TEST:
            self.test()
