"""Frozen features of captions and images, computed once and kept in the store."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor
from yacs.config import CfgNode

from tai_dpt import distributed
from tai_dpt.backbones import FIRST_DENSE, Backbone, load_backbone
from tai_dpt.backbones.precision import AUTO, PRECISIONS, choose_precision
from tai_dpt.backbones.preprocessing import Preprocessing
from tai_dpt.backbones.text import TOKENS_AT_ONCE
from tai_dpt.datasets.augment import ViewReader, augmentation_identity, train_transform
from tai_dpt.datasets.base import ImageSplit
from tai_dpt.datasets.config import cache_folder
from tai_dpt.datasets.corpora import LabelledCorpus
from tai_dpt.datasets.images import image_batches, pixel_batches, unreadable_images
from tai_dpt.errors import InputError, first_few
from tai_dpt.features import AnyFeatures
from tai_dpt.features.build import StorePlan
from tai_dpt.features.encode import Load
from tai_dpt.features.options import StoreOptions
from tai_dpt.features.store import FeatureStore
from tai_dpt.io.opening import expanded
from tai_dpt.io.shipped import backbone_file
from tai_dpt.trainers.config_files import DENSE_OF_OLD
from tai_dpt.trainers.tokens import cached_tokens

Report = Callable[[str], None]


def settle_precision(cfg: CfgNode, device: torch.device) -> None:
    """Put what ``PREC auto`` means on ``device`` into ``cfg``: records say what is really run.

    Of several processes the first one's counts: each has a clock of its own.
    """
    options = cfg.TRAINER.get(cfg.TRAINER.NAME.upper(), {})
    asked = options.get("PREC", "")
    chosen = choose_precision(AUTO, device) if asked == AUTO else asked
    chosen = distributed.gather(chosen)[0]
    if chosen != asked:
        cfg.defrost()
        options.PREC = chosen
        cfg.freeze()


def backbone_from_config(cfg: CfgNode, device: torch.device, precision: str) -> Backbone:
    """What ``MODEL.BACKBONE`` names: a published model, the one that ships, or a weight file
    (also under DATASET.ROOT).

    Raises:
        InputError: it cannot be loaded, or has no such ``DENSE`` option.
    """
    name = cfg.MODEL.BACKBONE.NAME
    in_root = expanded(cfg.DATASET.ROOT) / name
    if name and not expanded(name).exists() and in_root.is_file():
        name = str(in_root)
    dense = cfg.MODEL.BACKBONE.DENSE
    of_old = dense == DENSE_OF_OLD
    backbone = load_backbone(
        backbone_file(name),
        device=device,
        dtype=PRECISIONS[choose_precision(precision, device)],
        dense=None if of_old else dense or None,
    )
    if of_old:
        if backbone.dense is not None:
            backbone.dense = FIRST_DENSE
        cfg.defrost()
        cfg.MODEL.BACKBONE.DENSE = backbone.dense or ""  # records say what is really run
        cfg.freeze()
    return backbone


def caption_plan(
    cfg: CfgNode,
    backbone: Backbone,
    texts: Sequence[str],
    *,
    report: Report,
) -> StorePlan:
    """The features of the training captions; ``report`` takes lines about their encoding."""
    digest = _digest(texts)
    tokens = cached_tokens(backbone, texts, digest=digest, folder=cache_folder(cfg))
    return StorePlan(
        key=_key(backbone, kind="captions", texts=digest, **_tokens_part(backbone)),
        count=len(tokens),
        embed_dim=backbone.embed_dim,
        lengths=backbone.text.local_lengths(tokens),
        global_is_last=True,
        encode=lambda rows: backbone.text.encode_packed([tokens[row] for row in rows]),
        options=dataclasses.replace(
            _options(cfg, report),
            batch_rows=TOKENS_AT_ONCE,
            name="captions",
            about={"backbone": backbone.name, "first": f"“{shorten(texts[0], 40)}” …"},
        ),
    )


def image_plan(
    cfg: CfgNode,
    backbone: Backbone,
    split: ImageSplit,
    *,
    preprocessing: Preprocessing,
    position_embedding: bool,
    report: Report,
    read_once: bool = False,
) -> StorePlan:
    """The features of a split's images; all of them must be readable."""
    workers = cfg.DATALOADER.NUM_WORKERS
    return _pixel_plan(
        cfg,
        backbone,
        split,
        position_embedding=position_embedding,
        report=report,
        preparation=preprocessing.identity,
        count=len(split),
        load=lambda batches: image_batches(split.paths, preprocessing, batches, workers=workers),
        read_once=read_once,
    )


def view_plan(
    cfg: CfgNode,
    backbone: Backbone,
    split: ImageSplit,
    *,
    preprocessing: Preprocessing,
    position_embedding: bool,
    report: Report,
) -> StorePlan:
    """The features of ``INPUT.VIEWS`` augmented views of each image; view v is item v · n + i."""
    views = [(path, view) for view in range(cfg.INPUT.VIEWS) for path in split.paths]
    read = ViewReader(train_transform(cfg, preprocessing), seed=cfg.INPUT.VIEWS_SEED)
    workers = cfg.DATALOADER.NUM_WORKERS
    return _pixel_plan(
        cfg,
        backbone,
        split,
        position_embedding=position_embedding,
        report=report,
        preparation=(
            f"{augmentation_identity(cfg, preprocessing)}; "
            f"{cfg.INPUT.VIEWS} views of seed {cfg.INPUT.VIEWS_SEED}"
        ),
        count=len(views),
        load=lambda batches: pixel_batches(views, read, batches, workers=workers),
    )


def _pixel_plan(
    cfg: CfgNode,
    backbone: Backbone,
    split: ImageSplit,
    *,
    position_embedding: bool,
    preparation: str,
    count: int,
    load: Load,
    report: Report,
    read_once: bool = False,
) -> StorePlan:
    stats = [os.stat(path) for path in split.paths]
    files = [
        f"{path}\t{stat.st_size}\t{stat.st_mtime_ns}"
        for path, stat in zip(split.paths, stats, strict=True)
    ]
    return StorePlan(
        key=_key(
            backbone,
            kind="images",
            files=_digest(files),
            preprocessing=preparation,
            position_embedding=position_embedding,
            **_dense_part(backbone),
        ),
        count=count,
        embed_dim=backbone.embed_dim,
        encode=lambda pixels: backbone.encode_images(pixels, position_embedding=position_embedding),
        load=load,
        options=dataclasses.replace(
            _options(cfg, report),
            batch_items=cfg.DATALOADER.TEST.BATCH_SIZE,
            name="images",
            about={"backbone": backbone.name, "folder": os.path.dirname(split.paths[0])},
            read_once=read_once,
        ),
    )


def readable_images(cfg: CfgNode, name: str, split: ImageSplit) -> ImageSplit:
    """``split``, without its unreadable images where ``DATASET.ON_BAD_IMAGE`` is ``skip``.

    Those are named and counted in a warning.

    Raises:
        InputError: with ``error``, images are not on disk: now, not when training is done.
    """
    if cfg.DATASET.ON_BAD_IMAGE == "error" or not len(split):
        gone = [path for path in split.paths if not os.path.exists(path)]
        if gone:
            raise InputError(
                f"{name} split: {len(gone):,} of {len(split):,} images are not on disk: "
                f"{first_few(gone, 3)}; DATASET.ON_BAD_IMAGE skip leaves such images out"
            )
        return split
    bad = unreadable_images(split.paths, workers=cfg.DATALOADER.NUM_WORKERS)
    if not bad:
        return split
    if len(bad) == len(split):
        raise InputError(f"{name} split: none of its {len(split):,} images can be read: {bad[0]}")
    shown = first_few(bad.values(), separator="; ")
    warnings.warn(f"{name} split: {len(bad):,} images are skipped: {shown}", stacklevel=2)
    return split.subset([row for row in range(len(split)) if row not in bad])


@dataclass(frozen=True)
class Piece:
    """The samples of a batch that one process takes, and the weight of their mean."""

    index: Tensor  # (B,)
    fraction: float


class FeatureLoader:
    """Batches of stored features with labels: what a trainer iterates over.

    The store is opened, and what it lacks encoded, when its ``plan`` is, or at the first
    iteration. A shuffled loader's order depends on ``shuffle_seed`` and ``epoch`` alone, so a
    resumed run goes on as it would have. No sample is left out: the last batch may be smaller.
    Of several processes each gets its piece of every batch; ``batch_fraction`` is the weight of
    its mean loss in the whole batch's.
    """

    def __init__(
        self,
        plan: Callable[[], StorePlan],
        labels: Tensor | LabelledCorpus,
        *,
        batch_size: int,
        device: torch.device,
        shuffle_seed: int | None = None,
    ) -> None:
        if batch_size < 1:
            raise InputError(f"the batch size is {batch_size}; it must be at least 1")
        self.labels = labels  # (n, C); a corpus's are made dense a batch at a time
        self.batch_size = batch_size
        self.epoch = 0
        self.batch_fraction = 1.0  # of the piece that was yielded last
        self._plan = plan
        self._device = device
        self._shuffle_seed = shuffle_seed

    @cached_property
    def plan(self) -> StorePlan:
        """The store, before anything is encoded."""
        return self._plan()

    @property
    def plans(self) -> list[StorePlan]:
        """What is kept of its features."""
        return [self.plan]

    @property
    def store(self) -> FeatureStore:
        return self.plan.open()

    def __len__(self) -> int:
        return -(-len(self.labels) // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """``features`` (packed), ``label`` (B, C) and ``index`` (B,) of each batch; the latter two
        on the CPU, where a loss counts its pairs."""
        for piece in self._pieces():
            yield self._batch(piece, self._features(piece.index))

    def _features(self, index: Tensor) -> AnyFeatures:
        return self.store.packed(index)

    def _batch(self, piece: Piece, features: AnyFeatures) -> dict[str, Any]:
        self.batch_fraction = piece.fraction
        return {
            "features": features.to(self._device),
            "label": self._labels(piece.index),
            "index": piece.index,
        }

    def _labels(self, index: Tensor) -> Tensor:
        if isinstance(self.labels, LabelledCorpus):
            return torch.from_numpy(self.labels.dense_labels(index.numpy()))
        return self.labels[index]

    def _pieces(self) -> list[Piece]:
        """This process's piece of every batch; none is empty."""
        rank, world = distributed.rank(), distributed.world()
        pieces = []
        for batch in self._order().split(self.batch_size):
            if len(batch) < world:  # too few to go round: all do all of it
                pieces.append(Piece(batch, 1 / world))
                continue
            index = batch.tensor_split(world)[rank]
            pieces.append(Piece(index, len(index) / len(batch)))
        return pieces

    def _order(self) -> Tensor:
        if self._shuffle_seed is None:
            return torch.arange(len(self.labels))
        generator = torch.Generator().manual_seed(self._shuffle_seed * 1_000_003 + self.epoch)
        return torch.randperm(len(self.labels), generator=generator)


def _key(backbone: Backbone, **parts: str | bool) -> dict[str, str | bool]:
    """What determines features: weights, arithmetic, and ``parts``."""
    return {
        "backbone": backbone.weights_hash,
        "compute": str(backbone.dtype).removeprefix("torch."),
        **parts,
    }


def _tokens_part(backbone: Backbone) -> dict[str, str]:
    """What cuts texts to tokens, where it is not the tokenizer of all of OpenAI's CLIPs."""
    identity = backbone.tokenizer.identity
    return {"tokenizer": identity} if identity else {}


def _dense_part(backbone: Backbone) -> dict[str, str]:
    """How local image features come about, where there is a choice."""
    return {} if backbone.dense is None else {"dense": backbone.dense}


def _options(cfg: CfgNode, report: Report) -> StoreOptions:
    return StoreOptions(
        cache=cfg.FEATURES.CACHE,
        root=cache_folder(cfg),
        precision=cfg.FEATURES.PRECISION,
        max_bytes=int(cfg.FEATURES.MAX_GB * 1e9),
        shards=(distributed.rank(), distributed.world()),
        barrier=distributed.barrier,
        progress=report,
    )


def _digest(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()
