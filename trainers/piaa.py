"""PIAA: a patch classifier in closed form, from unlabelled images (ICML 2026)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from torch import Tensor

from tai_dpt.features import PackedFeatures
from tai_dpt.scoring.methods import Learned, Patches
from tai_dpt.scoring.patch_classifier import PatchClassifier, patch_setting
from tai_dpt.scoring.scores import Scoring
from tai_dpt.toolbox import TRAINER_REGISTRY
from tai_dpt.trainers.class_texts import IMAGENET, template_embeddings
from tai_dpt.trainers.multilabel import Scorer
from tai_dpt.trainers.untrained_trainer import UntrainedTrainer


@TRAINER_REGISTRY.register()
class PIAA(UntrainedTrainer):
    """Zero-shot CLIP labels patches; the surest make a classifier. No label is read."""

    default_options: ClassVar = {
        "PREC": "fp32",  # fp32, bf16, fp16 or auto
        "TEMPLATE": IMAGENET,
        "SETTING": "coco2014",  # the constants published for it: voc2007, coco2014 or nuswide
        "POOL": "train",  # whose images, without their labels, the classifier learns from
    }
    position_embedding = True
    needs_places = True

    def build_model(self) -> None:
        options = self.options
        self.class_embeddings = template_embeddings(
            self.backbone, self.dataset.classnames, options.TEMPLATE
        )
        setting = patch_setting(options.SETTING)
        classifier = PatchClassifier.fit(self.class_embeddings, self._patches(), setting=setting)
        self.classifier = PatchClassifier(
            classifier.weight.to(self.device), classifier.bias.to(self.device)
        )

    def _patches(self) -> Iterator[Tensor]:
        for batch in self.pool_loader():
            yield PackedFeatures.of(batch["features"]).local

    def learned(self) -> Learned:
        tensors = {
            **{"weight": self.classifier.weight, "bias": self.classifier.bias},
            **{"global": self.class_embeddings, "local": self.class_embeddings},
        }
        scoring = Scoring(scale=self.score_scale(), position_embedding=self.position_embedding)
        return Learned(Patches(setting=self.options.SETTING), tensors, scoring)

    def scorer(self) -> Scorer:
        return self.learned().scores
