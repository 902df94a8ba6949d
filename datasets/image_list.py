"""Anybody's images: a folder of them, and files that say what is in them, by config alone.

``DATASET.VOCABULARY`` is the class list and ``DATASET.IMAGE_LIST`` the rest. Label files are read
by :mod:`tai_dpt.datasets.label_files`.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from yacs.config import CfgNode

from tai_dpt.datasets.base import (
    ImageSplit,
    MultiLabelDataset,
    dataset_path,
    vocabulary_from_config,
)
from tai_dpt.datasets.label_files import read_label_file
from tai_dpt.errors import InputError
from tai_dpt.io.image_files import images_below
from tai_dpt.io.image_names import locate, refuse_twice
from tai_dpt.io.opening import expanded
from tai_dpt.labels.vocabulary import Vocabulary
from tai_dpt.toolbox import DATASET_REGISTRY

SPLITS = ("TRAIN", "VAL", "TEST")


@DATASET_REGISTRY.register()
class ImageList(MultiLabelDataset):
    """A folder of images with a label file for each of training, validation and test.

    Every label file may be left out; the one of training may also be named and not be there, as
    long as nothing learns from images. Without any, all images of the folder are test images
    without labels: they are scored, and there is nothing to evaluate. Unknown labels are left
    out of the metric.
    """

    ignores_unknown = True

    def __init__(self, cfg: CfgNode) -> None:
        options = cfg.DATASET.IMAGE_LIST
        if not cfg.DATASET.VOCABULARY:
            raise InputError(
                "DATASET.VOCABULARY is empty; name the class list (a .txt file with one class a "
                "line, or a .yaml file), relative to DATASET.ROOT"
            )
        if not options.IMAGES:
            raise InputError(
                "DATASET.IMAGE_LIST.IMAGES is empty; name the folder of the images, relative to "
                "DATASET.ROOT"
            )
        vocabulary = vocabulary_from_config(cfg)
        folder = dataset_path(cfg, options.IMAGES)
        if not folder.is_dir():
            raise InputError(f"{folder} is no folder; DATASET.IMAGE_LIST.IMAGES names one")
        splits = {
            split.lower(): _labelled(cfg, dataset_path(cfg, options[split]), folder, vocabulary)
            for split in SPLITS
            if options[split] and not (split == "TRAIN" and self._train_is_missing(cfg))
        }
        if not splits:
            splits["test"] = unlabelled_images(folder, vocabulary)
        super().__init__(
            cfg,
            vocabulary=vocabulary,
            train=splits.get("train"),
            val=splits.get("val"),
            test=splits.get("test"),
        )

    def images(self, split: str) -> ImageSplit:
        if split == "train" and self._train_is_missing(self.cfg):
            dataset_path(self.cfg, self.cfg.DATASET.IMAGE_LIST.TRAIN)  # says that it is missing
        return super().images(split)

    @staticmethod
    def _train_is_missing(cfg: CfgNode) -> bool:
        """Whether there are no training labels where they should be: captions may do."""
        name = cfg.DATASET.IMAGE_LIST.TRAIN
        return bool(name) and not expanded(Path(cfg.DATASET.ROOT) / name).exists()


def unlabelled_images(folder: Path, vocabulary: Vocabulary) -> ImageSplit:
    """All images in a folder and its subfolders, in the order of their names; all labels 0.

    What else lies there is counted in a warning.

    Raises:
        InputError: there are none.
    """
    found = images_below(folder)
    if not found.paths:
        aside = f"; left aside: {found.left_aside}" if found.left_aside else ""
        raise InputError(f"{folder}: no images in it or below{aside}")
    if found.left_aside:
        warnings.warn(f"{folder}: left aside: {found.left_aside}", stacklevel=2)
    return ImageSplit(
        ids=tuple(Path(path).as_posix() for path in found.paths),
        paths=tuple(str(folder / path) for path in found.paths),
        labels=np.zeros((len(found.paths), len(vocabulary)), np.int8),
    )


def _labelled(cfg: CfgNode, path: Path, folder: Path, vocabulary: Vocabulary) -> ImageSplit:
    options = cfg.DATASET.IMAGE_LIST
    names, labels = read_label_file(
        path,
        vocabulary,
        separator=options.SEPARATOR,
        zero=options.ZERO,
        skip_columns=options.SKIP_COLUMNS,
        present_from=options.PRESENT_FROM,
    )
    files = locate(names, folder)
    refuse_twice(names, files, where=str(path))
    # the file is the id, however it was written: another run on it may have read another table
    return ImageSplit(tuple(files), tuple(str(folder / file) for file in files), labels)
