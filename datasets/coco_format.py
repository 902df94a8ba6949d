"""Any data set in COCO's file format, by config alone.

``DATASET.COCO.{TRAIN,VAL,TEST}`` name an instances file and an image folder each (empty: the
split does not exist); the class list is ``DATASET.VOCABULARY``, or the file's own categories.
``DATASET.COCO.CROWD`` says whether a crowd of things is a label.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from yacs.config import CfgNode

from tai_dpt.datasets.base import (
    ImageSplit,
    MultiLabelDataset,
    dataset_path,
    vocabulary_from_config,
)
from tai_dpt.datasets.coco_json import CocoFile, CocoObject, read_coco
from tai_dpt.errors import InputError, unknown
from tai_dpt.io.image_names import locate, refuse_twice
from tai_dpt.labels.spelling import normalise
from tai_dpt.labels.vocabulary import Vocabulary
from tai_dpt.toolbox import DATASET_REGISTRY

CROWD = ("count", "leave_out", "paper")


@DATASET_REGISTRY.register()
class CocoFormat(MultiLabelDataset):
    """Instances and captions in COCO's format; ``emoji_scenes`` is one such config."""

    def __init__(self, cfg: CfgNode) -> None:
        crowd = cfg.DATASET.COCO.CROWD
        if crowd not in CROWD:
            raise unknown("choice for crowds (DATASET.COCO.CROWD)", crowd, CROWD)
        named = {
            split: tuple(cfg.DATASET.COCO[split])
            for split in ("TRAIN", "VAL", "TEST")
            if cfg.DATASET.COCO[split]
        }
        if not named:
            raise InputError(
                "DATASET.COCO names no split; set DATASET.COCO.TEST to (instances file, image "
                "folder), relative to DATASET.ROOT"
            )
        files = {}
        for split, value in named.items():
            if len(value) != 2 or not all(isinstance(part, str) for part in value):
                raise InputError(
                    f"DATASET.COCO.{split} is {value}; it takes (instances file, image folder)"
                )
            files[split] = (dataset_path(cfg, value[0]), dataset_path(cfg, value[1]))
        read = {split: read_coco(path) for split, (path, _) in files.items()}
        if cfg.DATASET.VOCABULARY:
            vocabulary = vocabulary_from_config(cfg)
        else:
            first = next(iter(read.values()))
            names = {normalise(name): name for name in first.categories.values()}
            vocabulary = Vocabulary.from_names(list(names.values()))
        splits = {
            split.lower(): instances_split(
                read[split], images, vocabulary, crowd=crowd, training=split == "TRAIN"
            )
            for split, (_, images) in files.items()
        }
        # a file of LVIS leaves labels unknown
        self.ignores_unknown = any((images.labels == 0).any() for images in splits.values())
        super().__init__(
            cfg,
            vocabulary=vocabulary,
            train=splits.get("train"),
            val=splits.get("val"),
            test=splits.get("test"),
        )


def instances_split(
    file: CocoFile,
    image_folder: Path,
    vocabulary: Vocabulary,
    *,
    crowd: str = "count",
    training: bool = False,
) -> ImageSplit:
    """Labels from boxes: a class is present (1) where an image has an instance of it, else -1.

    Categories are matched to classes by name: the class's own name, the benchmark's name for
    it, or a synonym. Images keep the file's order. A category that is no class does no harm as
    long as nothing in the file has it.

    Args:
        crowd: what a region with a crowd of things says of its image: ``count``, that they are
            there (as in the paper's table 1); ``leave_out``, nothing; ``paper``, nothing, as in
            the public code for table 2, which also passes over training boxes that are less than
            a pixel wide or high.
        training: whether the images are for training.

    Raises:
        InputError: an object's category is no class, or two images are one file.
    """
    class_of_name = vocabulary.index_by_any_name()
    column = {
        key: class_of_name[normalise(name)]
        for key, name in file.categories.items()
        if normalise(name) in class_of_name
    }
    row = {image.id: i for i, image in enumerate(file.images)}
    labels = np.full((len(row), len(vocabulary)), -1, np.int8)
    for i, image in enumerate(file.images):
        if image.absent is not None:
            labels[i] = 0
            labels[i, [column[key] for key in image.absent if key in column]] = -1
    for found in file.objects:
        if found.category_id not in column:
            raise InputError(
                f"{file.path}: category '{file.categories[found.category_id]}' is none of the "
                f"{len(vocabulary)} classes; add it to the class list as a name or a synonym "
                f"(classes: {', '.join(vocabulary.names[:8])}, …)"
            )
        if _counts(found, crowd, training=training):
            labels[row[found.image_id], column[found.category_id]] = 1
    names = [image.file_name for image in file.images]
    files = locate(names, image_folder)
    refuse_twice(names, files, where=f"{file.path}: images")  # each would have a part of the labels
    return ImageSplit(
        ids=tuple(row),
        paths=tuple(str(image_folder / name) for name in files),
        labels=labels,
    )


def _counts(found: CocoObject, crowd: str, *, training: bool) -> bool:
    """Whether an object says that its class is there."""
    if crowd == "count":
        return True
    return not found.crowd and not (crowd == "paper" and training and found.tiny)
