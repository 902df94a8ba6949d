"""What trainers that learn from captions share."""

from __future__ import annotations

import dataclasses

from tai_dpt import distributed
from tai_dpt.features import AnyFeatures
from tai_dpt.scoring.linear_head import add_noise
from tai_dpt.trainers.features import FeatureLoader
from tai_dpt.trainers.multilabel import MultiLabelTrainer
from tai_dpt.trainers.prompt_trainer import PromptTrainer

CAPTION_OPTIONS = {
    "NOISE": 0.0,  # deviation of Gaussian noise on the captions' features in training
}


def caption_loader(trainer: MultiLabelTrainer) -> FeatureLoader:
    """Batches of the corpus's captions, in an order that ``SEED`` decides."""
    corpus = trainer.dataset.corpus
    if not trainer.backbone.text.every_token:
        trainer.report(
            f"{trainer.backbone.name} has no feature for every word of a caption (its text tower "
            "is not CLIP's causal one): what is learned is global (TaI), and serves for the local "
            "scores, too"
        )
    return FeatureLoader(
        lambda: trainer.captions,
        corpus,
        batch_size=trainer.cfg.DATALOADER.TRAIN_X.BATCH_SIZE,
        device=trainer.device,
        shuffle_seed=max(trainer.cfg.SEED, 0),
    )


class CaptionTrainer(PromptTrainer):
    """Base of the trainers that learn from captions and the labels read off them."""

    def build_train_loader(self) -> FeatureLoader:
        return caption_loader(self)

    def training_cardinality(self) -> float:
        return self.dataset.corpus.cardinality

    def training_features(self, features: AnyFeatures) -> AnyFeatures:
        noise = self.options.NOISE
        if not noise:
            return features
        generator = self.step_generator("noise", rank=distributed.rank())
        return dataclasses.replace(
            features,
            global_=add_noise(features.global_, noise, generator=generator),
            local=add_noise(features.local, noise, generator=generator),
        )
