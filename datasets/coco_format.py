"""Any data set in COCO's file format, by config alone.

``DATASET.COCO.{TRAIN,VAL,TEST}`` name an instances file and an image folder each (empty: the
split does not exist); the class list is ``DATASET.VOCABULARY``, or the file's own categories.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from yacs.config import CfgNode

from tai_dpt.datasets.base import (
    ImageSplit,
    MultiLabelDataset,
    dataset_path,
    vocabulary_from_config,
)
from tai_dpt.errors import InputError
from tai_dpt.labels.vocabulary import Vocabulary
from tai_dpt.toolbox import DATASET_REGISTRY


@DATASET_REGISTRY.register()
class CocoFormat(MultiLabelDataset):
    """Instances and captions in COCO's format; ``emoji_scenes`` is one such config."""

    def __init__(self, cfg: CfgNode) -> None:
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
            if len(value) != 2:
                raise InputError(
                    f"DATASET.COCO.{split} is {value}; it takes (instances file, image folder)"
                )
            files[split] = (dataset_path(cfg, value[0]), dataset_path(cfg, value[1]))
        read = {split: read_coco_json(path) for split, (path, _) in files.items()}
        if cfg.DATASET.VOCABULARY:
            vocabulary = vocabulary_from_config(cfg)
        else:
            vocabulary = Vocabulary.from_names(
                [str(category["name"]) for category in next(iter(read.values()))["categories"]]
            )
        splits = {
            split.lower(): instances_split(read[split], path, images, vocabulary)
            for split, (path, images) in files.items()
        }
        super().__init__(cfg, vocabulary=vocabulary, **splits)


def read_coco_json(path: Path) -> dict[str, Any]:
    """Parse an instances file and check that it is one.

    Raises:
        InputError: not JSON (with the line), or not COCO's instances format (with the keys).
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}, line {error.lineno}: not valid JSON ({error.msg}); is the file whole?"
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text at byte {error.start}") from None
    if not isinstance(content, dict):
        raise InputError(
            f"{path}: COCO's format is a JSON object, this is a {type(content).__name__}"
        )
    missing = [key for key in ("images", "annotations", "categories") if key not in content]
    if missing:
        raise InputError(
            f"{path}: not a COCO instances file, it lacks {', '.join(missing)} "
            f"(it has: {', '.join(content) or 'nothing'})"
        )
    return content


def instances_split(
    content: dict[str, Any], path: Path, image_folder: Path, vocabulary: Vocabulary
) -> ImageSplit:
    """Labels from boxes: a class is present (1) where an image has an instance of it, else -1.

    Categories are matched to classes by name: the class's own name, the benchmark's name for
    it, or a synonym. Images keep the file's order.

    Raises:
        InputError: a category that is no class, an image id listed twice, an annotation of an
            unknown image or category.
    """
    class_of_name = vocabulary.index_by_any_name()
    column = {}
    for category in content["categories"]:
        name = str(category["name"]).lower()
        if name not in class_of_name:
            raise InputError(
                f"{path}: category '{category['name']}' is none of the {len(vocabulary.names)} "
                f"classes; add it to the class list as a name or a synonym "
                f"(classes: {', '.join(vocabulary.names[:8])}, …)"
            )
        column[category["id"]] = class_of_name[name]
    row: dict[Any, int] = {}
    for i, image in enumerate(content["images"]):
        if row.setdefault(image["id"], i) != i:
            raise InputError(f"{path}: image id {image['id']} is listed twice")
    labels = np.full((len(row), len(vocabulary.names)), -1, np.int8)
    for annotation in content["annotations"]:
        if annotation["image_id"] not in row or annotation["category_id"] not in column:
            raise InputError(
                f"{path}: annotation {annotation.get('id')} speaks of image "
                f"{annotation['image_id']}, category {annotation['category_id']}, and one of "
                "them is not in the file"
            )
        labels[row[annotation["image_id"]], column[annotation["category_id"]]] = 1
    return ImageSplit(
        ids=tuple(str(image["id"]) for image in content["images"]),
        paths=tuple(str(image_folder / image["file_name"]) for image in content["images"]),
        labels=labels,
    )
