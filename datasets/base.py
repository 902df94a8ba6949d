"""What every multi-label dataset is: a vocabulary, a caption corpus, and labelled images."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray
from yacs.config import CfgNode

from tai_dpt.backbones.tokenizers import CLIPS_OWN, Tokenizer
from tai_dpt.datasets.class_subsets import EVAL_IMAGES, subset_columns
from tai_dpt.datasets.corpora import LabelledCorpus
from tai_dpt.datasets.corpora.from_config import corpus_from_config
from tai_dpt.errors import InputError, first_few, unknown
from tai_dpt.io.image_files import missing_files
from tai_dpt.io.image_names import did_you_mean
from tai_dpt.io.opening import expanded
from tai_dpt.labels.class_lists import load_vocabulary
from tai_dpt.labels.vocabulary import Vocabulary
from tai_dpt.toolbox import DatasetBase


@dataclass(frozen=True)
class ImageItem:
    """One labelled image; Dassl's ``Datum`` knows a single integer label only."""

    impath: str
    label: NDArray[np.int8]  # (C,): 1 present, -1 absent, 0 unknown or difficult
    image_id: str


@dataclass(frozen=True)
class ImageSplit(Sequence[ImageItem]):
    """The images of one split with their label matrix."""

    ids: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    labels: NDArray[np.int8] = field(default_factory=lambda: np.zeros((0, 0), np.int8))  # (n, C)

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> ImageItem: ...
    @overload
    def __getitem__(self, index: slice) -> ImageSplit: ...
    def __getitem__(self, index: int | slice) -> ImageItem | ImageSplit:
        if isinstance(index, slice):
            return ImageSplit(self.ids[index], self.paths[index], self.labels[index])
        return ImageItem(self.paths[index], self.labels[index], self.ids[index])

    def subset(self, rows: Sequence[int] | NDArray[np.integer]) -> ImageSplit:
        """The images at ``rows``, in that order."""
        return ImageSplit(
            tuple(self.ids[i] for i in rows), tuple(self.paths[i] for i in rows), self.labels[rows]
        )


class MultiLabelDataset(DatasetBase):
    """Base of the registered datasets. A subclass reads its layout and calls ``super().__init__``.

    Images are read when they are needed, and so is the corpus: a method that learns from images
    never opens the captions, and one that learns from captions does not need the training images
    on disk.
    """

    #: whether the metric leaves labels 0 out of a class's ranking; else they are negatives
    ignores_unknown = False
    #: of the backbone that will read the captions: what it does not read of one is no label
    tokenizer: Tokenizer = CLIPS_OWN

    def __init__(
        self,
        cfg: CfgNode,
        *,
        vocabulary: Vocabulary,
        corpus: LabelledCorpus | None = None,
        train: ImageSplit | None = None,
        val: ImageSplit | None = None,
        test: ImageSplit | None = None,
        chosen: bool = False,
    ) -> None:
        """
        Args:
            chosen: whether the vocabulary and the labels are those of ``DATASET.CLASSES`` already.
        """
        self.cfg = cfg
        self._corpus = corpus
        given = {"train": train, "val": val, "test": test}
        self._splits = {name: split or ImageSplit() for name, split in given.items()}
        self._whole_vocabulary = vocabulary
        self._columns: list[int] | None = None  # of it, the classes that are asked for
        if cfg.DATASET.EVAL_IMAGES not in EVAL_IMAGES:
            raise unknown("DATASET.EVAL_IMAGES", cfg.DATASET.EVAL_IMAGES, EVAL_IMAGES)
        if cfg.DATASET.CLASSES and not chosen:
            self._columns = subset_columns(cfg.DATASET.CLASSES, vocabulary)
            vocabulary = vocabulary.subset(self._columns)
            for name, split in self._splits.items():
                if len(split):
                    self._splits[name] = replace(split, labels=split.labels[:, self._columns])
        if cfg.DATASET.EVAL_IMAGES == "any_positive":
            for name in ("val", "test"):
                split = self._splits[name]
                self._splits[name] = split.subset(np.flatnonzero((split.labels > 0).any(axis=1)))
        self.vocabulary = vocabulary
        self._unchecked = {"train"}
        for name in ("val", "test"):
            _check_files(name, self._splits[name])
        super().__init__(
            train_x=self._splits["train"],
            val=self._splits["val"],
            test=self._splits["test"],
            classnames=vocabulary.names,
        )

    def images(self, split: str) -> ImageSplit:
        """The labelled images of ``train``, ``val`` or ``test``; there may be none.

        Raises:
            InputError: none of the training images is on disk (asked for the first time).
        """
        if split in self._unchecked:
            _check_files(split, self._splits[split])
            self._unchecked.remove(split)
        return self._splits[split]

    def listed(self, split: str) -> ImageSplit:
        """As ``images``, whether or not they are on disk."""
        return self._splits[split]

    @property
    def corpus(self) -> LabelledCorpus:
        """The labelled captions: those given, else ``DATASET.CORPUS``'s, read at the first use."""
        if self._corpus is None:
            self._corpus = corpus_from_config(
                self.cfg,
                self._whole_vocabulary,
                columns=self._columns,
                tokenizer=self.tokenizer,
            )
        return self._corpus


def dataset_path(cfg: CfgNode, relative: str) -> Path:
    """A path of a config, relative to ``DATASET.ROOT`` unless absolute.

    Raises:
        InputError: nothing is there.
    """
    path = expanded(cfg.DATASET.ROOT) / expanded(relative)
    if not path.exists():
        raise InputError(
            f"{path} is missing; DATASET.ROOT (--root) is '{cfg.DATASET.ROOT}': see DATASETS.md "
            "for what belongs there"
        )
    return path


def _check_files(name: str, split: ImageSplit) -> None:
    """Complain at once about images that are not there, not after an hour of encoding."""
    if len(split) != len(set(split.ids)):
        seen: set[str] = set()
        twice = next(i for i in split.ids if i in seen or seen.add(i))  # type: ignore[func-returns-value]
        raise InputError(f"{name} split: image id '{twice}' appears twice")
    missing = missing_files(split.paths)
    if len(missing) == len(split) > 0:
        raise InputError(
            f"{name} split: none of its {len(split):,} images is on disk, the first would be "
            f"{missing[0]}{did_you_mean(missing[0])}; see DATASETS.md for the layout"
        )
    if missing:
        shown = first_few(missing, 3)
        warnings.warn(
            f"{name} split: {len(missing):,} of {len(split):,} images are not on disk: {shown}"
            f"{did_you_mean(missing[0])}; DATASET.ON_BAD_IMAGE says whether that is an error",
            stacklevel=2,
        )


def vocabulary_from_config(cfg: CfgNode) -> Vocabulary:
    """``DATASET.VOCABULARY``: a built-in name, or a file relative to ``DATASET.ROOT``."""
    name = cfg.DATASET.VOCABULARY
    if Path(name).suffix:
        return Vocabulary.from_file(dataset_path(cfg, name))
    return load_vocabulary(name, names=cfg.DATASET.CLASS_NAMES)
