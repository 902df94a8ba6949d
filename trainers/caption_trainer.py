"""What trainers that learn from captions share."""

from __future__ import annotations

import torch

from tai_dpt.trainers.features import FeatureLoader, caption_store
from tai_dpt.trainers.prompt_trainer import PromptTrainer


class CaptionTrainer(PromptTrainer):
    """Base of the trainers that learn from captions and the labels read off them."""

    def build_train_loader(self) -> FeatureLoader:
        corpus = self.dataset.corpus
        return FeatureLoader(
            lambda: caption_store(self.cfg, self.backbone, corpus.texts),
            torch.from_numpy(corpus.labels),
            batch_size=self.cfg.DATALOADER.TRAIN_X.BATCH_SIZE,
            device=self.device,
            shuffle_seed=max(self.cfg.SEED, 0),
        )

    def training_cardinality(self) -> float:
        return float(self.dataset.corpus.labels.sum(1).mean())
