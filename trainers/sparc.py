"""SPARC: zero-shot scores standardised, and fused with those of pairs of classes (CVPR 2025)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from tai_dpt.errors import InputError
from tai_dpt.features import AnyFeatures
from tai_dpt.scoring.cooccurrence import (
    PAIR_TEMPLATE,
    RankFusion,
    companions,
    conditional_frequencies,
    pairs_of,
)
from tai_dpt.scoring.scores import KINDS, Scores, score
from tai_dpt.toolbox import TRAINER_REGISTRY
from tai_dpt.trainers.class_texts import IMAGENET, template_embeddings
from tai_dpt.trainers.multilabel import Scorer, score_all
from tai_dpt.trainers.untrained_trainer import UntrainedTrainer

_MOST_PAIRS = 20_000  # all pairs of 200 classes


@TRAINER_REGISTRY.register()
class SPARC(UntrainedTrainer):
    """Scores of "A" and of "A and B" compared among images, by a pool of unlabelled ones.

    Each image's scores are standardised over the classes, each column over the pool. Which
    classes go together is counted in the captions, or all pairs are taken. No label of an image
    is read.
    """

    default_options: ClassVar = {
        "PREC": "fp32",  # fp32, bf16, fp16 or auto
        "TEMPLATE": IMAGENET,
        "PAIRS": "captions",  # those with P(B | A) > FREQUENCY in the captions, or all
        "FREQUENCY": 0.05,
        "POOL": "test",  # whose images say what scores are usual: test (as published), val, train
    }
    position_embedding = reads_captions = True

    def build_model(self) -> None:
        names, options = self.dataset.classnames, self.options
        if options.PAIRS == "all":
            count = len(names)
            self.pairs = [(a, b) for a in range(count) for b in range(a + 1, count)]
        else:
            frequencies = conditional_frequencies(self.dataset.corpus.captions.labels)
            beside = companions(frequencies, at_least=options.FREQUENCY, most=len(names))
            self.pairs = pairs_of(beside)
        if len(self.pairs) > _MOST_PAIRS:
            raise InputError(
                f"{len(self.pairs):,} pairs of classes are too many (at most {_MOST_PAIRS:,}): "
                f"raise {self.options_key(self.cfg)}.FREQUENCY, with PAIRS captions"
            )
        self.log(f"{len(self.pairs):,} pairs of classes")
        compounds = [PAIR_TEMPLATE.format(names[a], names[b]) for a, b in self.pairs]
        self.embeddings = template_embeddings(self.backbone, [*names, *compounds], options.TEMPLATE)
        self._fusions: dict[str, RankFusion] = {}

    def score_scale(self) -> float:
        return self.backbone.logit_scale

    def _standardised(self, features: AnyFeatures) -> Scores:
        """Scores of classes and compounds (B, C + K), by the mean and deviation of the classes'."""
        scale = self.backbone.logit_scale
        scores = score(features, self.embeddings, self.embeddings, scale=scale, sharpness=scale)

        def standardised(values: Tensor) -> Tensor:
            own = values[:, : self.num_classes]
            deviation = own.std(dim=1, correction=1, keepdim=True).clamp(min=1e-12)
            return (values - own.mean(dim=1, keepdim=True)) / deviation

        return Scores(*(standardised(scores.of(kind)) for kind in ("global", "local", "merged")))

    def _pool(self) -> dict[str, RankFusion]:
        """What is usual in the pool, for each kind of scores; worked out once."""
        if not self._fusions:
            pool = score_all(self._standardised, self.pool_loader(least=2))
            for kind in KINDS:
                values = pool.of(kind).to(self.device)
                self._fusions[kind] = RankFusion(
                    classes=self.num_classes,
                    pairs=self.pairs,
                    pool=values[:, : self.num_classes],
                    pair_pool=values[:, self.num_classes :],
                )
        return self._fusions

    def scorer(self) -> Scorer:
        fusions, count = self._pool(), self.num_classes

        @torch.no_grad()
        def score_features(features: AnyFeatures) -> Scores:
            scores = self._standardised(features)
            kinds = [
                fusions[kind](scores.of(kind)[:, :count], scores.of(kind)[:, count:])
                for kind in ("global", "local", "merged")
            ]
            return Scores(*kinds)

        return score_features
