"""What trainers that learn from labelled images share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from yacs.config import CfgNode

from tai_dpt.backbones import Backbone
from tai_dpt.datasets.augment import ViewReader, augments, train_transform
from tai_dpt.datasets.base import ImageSplit, MultiLabelDataset
from tai_dpt.datasets.few_shot import few_shot, held_out
from tai_dpt.datasets.images import pixel_batches
from tai_dpt.datasets.partial import mask_of, partial_labels
from tai_dpt.errors import InputError
from tai_dpt.features import AnyFeatures
from tai_dpt.features.build import StorePlan
from tai_dpt.scoring.metrics import known_cardinality
from tai_dpt.trainers.features import FeatureLoader, image_plan, readable_images, view_plan
from tai_dpt.trainers.prompt_trainer import PromptTrainer

MASK_FILE = "partial_mask.npz"


def labelled_images(
    cfg: CfgNode, dataset: MultiLabelDataset, *, held_out_part: bool = False
) -> ImageSplit:
    """The training images with their known labels: all that image-learned prompts may see.

    ``DATASET.PARTIAL`` says which labels are known, ``DATASET.HOLDOUT`` which images are kept
    from training (they are what ``held_out_part`` gives), ``DATASET.NUM_SHOTS`` how many of the
    rest are drawn, by ``SEED``. Errors as in ``datasets.partial`` and ``datasets.few_shot``.
    """
    images = dataset.images("train")
    names = tuple(dataset.classnames)
    if not len(images):
        return images
    images = partial_labels(cfg, images, names)
    kept = held_out(images.ids, share=cfg.DATASET.HOLDOUT, seed=cfg.DATASET.PARTIAL.SEED)
    if held_out_part:
        return images.subset(np.flatnonzero(kept))
    images = images.subset(np.flatnonzero(~kept))
    return few_shot(images, names, shots=cfg.DATASET.NUM_SHOTS, seed=max(cfg.SEED, 0))


class ImageTrainer(PromptTrainer):
    """Base of the trainers that learn from images with (partly) known labels.

    The frozen encoder runs without a graph. Its features are stored and never computed again
    where ``INPUT.TRANSFORMS`` asks for nothing random, or where ``INPUT.VIEWS`` is a number of
    augmented views; otherwise new views are encoded in every epoch.
    """

    reads_labels = True
    train_images: ImageSplit

    def build_train_loader(self) -> FeatureLoader | None:
        cfg = self.cfg
        images = labelled_images(cfg, self.dataset)
        self.train_images = readable_images(cfg, "train", images)
        if not len(images):
            return None  # can still be evaluated; before_train complains
        labels = torch.from_numpy(self.train_images.labels)
        options: dict[str, Any] = {
            "batch_size": cfg.DATALOADER.TRAIN_X.BATCH_SIZE,
            "device": self.device,
            "shuffle_seed": max(cfg.SEED, 0),
        }
        where: dict[str, Any] = {"position_embedding": self.position_embedding}
        prepared = {"preprocessing": self.preprocessing, "report": self.report, **where}
        if not augments(cfg):
            return FeatureLoader(
                lambda: image_plan(cfg, self.backbone, self.train_images, **prepared),
                labels,
                **options,
            )
        if cfg.INPUT.VIEWS:
            return ViewLoader(
                lambda: view_plan(cfg, self.backbone, self.train_images, **prepared),
                labels,
                views=cfg.INPUT.VIEWS,
                **options,
            )
        return FreshLoader(
            self.train_images,
            backbone=self.backbone,
            read=ViewReader(train_transform(cfg, self.preprocessing), seed=max(cfg.SEED, 0)),
            workers=cfg.DATALOADER.NUM_WORKERS,
            **where,
            **options,
        )

    def training_cardinality(self) -> float:
        return known_cardinality(self.train_images.labels)

    def before_train(self) -> None:
        if self.train_loader_x is None:
            raise InputError(
                f"dataset '{self.cfg.DATASET.NAME}' has no training images, and "
                f"{self.cfg.TRAINER.NAME} learns from images"
            )
        mask = mask_of(self.train_images, self.dataset.classnames)
        if self.keeps_files:
            mask.save(os.path.join(self.output_dir, MASK_FILE))
        known = mask.known.mean()
        self.log(f"Training images: {len(self.train_images):,}, {known:.1%} of their labels known")
        super().before_train()

    def extra_results(self) -> dict[str, Any]:
        if self.train_loader_x is None:
            return {}
        labels = self.train_images.labels
        return {
            "training": {
                "images": len(labels),
                "known_labels": float((labels != 0).mean()),
                "known_positives": int((labels > 0).sum()),
            }
        }


class ViewLoader(FeatureLoader):
    """Stored features of several views of each image; an epoch sees one view of each.

    Image i shows view (epoch + i) mod ``views``: all of its views in turn.
    """

    def __init__(
        self, plan: Callable[[], StorePlan], labels: Tensor, *, views: int, **options: Any
    ) -> None:
        super().__init__(plan, labels, **options)
        self.views = views

    def _features(self, index: Tensor) -> AnyFeatures:
        view = (self.epoch + index) % self.views
        return self.store.packed(view * len(self.labels) + index)


class FreshLoader(FeatureLoader):
    """New augmented views in every epoch, read ahead by worker processes and encoded here.

    A view depends on the seed, the epoch and the file alone, so a resumed run goes on as it
    would have.
    """

    def __init__(
        self,
        images: ImageSplit,
        *,
        backbone: Backbone,
        read: ViewReader,
        workers: int,
        position_embedding: bool,
        **options: Any,
    ) -> None:
        super().__init__(self._no_plan, torch.from_numpy(images.labels), **options)
        self._paths = images.paths
        self._backbone = backbone
        self._read = read
        self._workers = workers
        self._position_embedding = position_embedding

    def __iter__(self) -> Iterator[dict[str, Any]]:
        pieces = self._pieces()
        items = [(path, self.epoch) for path in self._paths]
        pixels = pixel_batches(
            items, self._read, [piece.index.tolist() for piece in pieces], workers=self._workers
        )
        for piece, images in zip(pieces, pixels, strict=True):
            features = self._backbone.encode_images(
                images, position_embedding=self._position_embedding
            )
            yield self._batch(piece, features)

    @property
    def plans(self) -> list[StorePlan]:
        return []

    @staticmethod
    def _no_plan() -> StorePlan:
        raise InputError("new views are encoded in every epoch: none are stored")
