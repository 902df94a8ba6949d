"""Anybody's images: a folder of them, and files that say what is in them, by config alone.

``DATASET.VOCABULARY`` is the class list and ``DATASET.IMAGE_LIST`` the rest. Label files are read
by :mod:`tai_dpt.datasets.label_files`.
"""

from __future__ import annotations

import os
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
from tai_dpt.labels.vocabulary import Vocabulary
from tai_dpt.toolbox import DATASET_REGISTRY

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
SPLITS = ("TRAIN", "VAL", "TEST")


@DATASET_REGISTRY.register()
class ImageList(MultiLabelDataset):
    """A folder of images with a label file for each of training, validation and test.

    Every label file may be left out. Without any, all images of the folder are test images
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
            if options[split]
        }
        super().__init__(
            cfg,
            vocabulary=vocabulary,
            **(splits or {"test": unlabelled_images(folder, vocabulary)}),
        )


def unlabelled_images(folder: Path, vocabulary: Vocabulary) -> ImageSplit:
    """All images in a folder and its subfolders, in the order of their names; all labels 0.

    Raises:
        InputError: there are none.
    """
    names = images_in(folder)
    if not names:
        raise InputError(f"{folder}: no images in it or below ({', '.join(IMAGE_ENDINGS)})")
    return ImageSplit(
        ids=tuple(names),
        paths=tuple(str(folder / name) for name in names),
        labels=np.zeros((len(names), len(vocabulary)), np.int8),
    )


def images_in(folder: Path) -> list[str]:
    """The image files in a folder and its subfolders, relative to it, sorted; none hidden."""
    found: list[str] = []
    visited = set()  # links may lead in a circle
    for here, below, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        if real in visited:
            below.clear()
            continue
        visited.add(real)
        below[:] = [name for name in below if not name.startswith(".")]
        found += [
            Path(here, name).relative_to(folder).as_posix()
            for name in files
            if name.lower().endswith(IMAGE_ENDINGS) and not name.startswith(".")
        ]
    return sorted(found)


def _labelled(cfg: CfgNode, path: Path, folder: Path, vocabulary: Vocabulary) -> ImageSplit:
    options = cfg.DATASET.IMAGE_LIST
    names, labels = read_label_file(
        path,
        vocabulary,
        separator=options.SEPARATOR,
        zero=options.ZERO,
        skip_columns=options.SKIP_COLUMNS,
    )
    files = _find(names, folder)
    return ImageSplit(tuple(names), tuple(str(folder / file) for file in files), labels)


def _find(names: list[str], folder: Path) -> list[str]:
    """The file of each name: as written, with slashes for backslashes, or without its ending.

    A name that fits no file is returned as it is; the data set complains about all of them.
    """
    listed = images_in(folder)
    there = set(listed)
    by_stem: dict[str, list[str]] = {}
    for name in listed:
        by_stem.setdefault(os.path.splitext(name)[0], []).append(name)
    files = []
    for name in names:
        slashed = name.replace("\\", "/").removeprefix("./")
        endings = by_stem.get(slashed, [])
        if name in there or os.path.isabs(name):
            files.append(name)
        elif slashed not in there and len(endings) == 1:
            files.append(endings[0])
        else:
            files.append(slashed)
    return files
