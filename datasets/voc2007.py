"""PASCAL VOC 2007, the classification task, in its official layout.

``ImageSets/Main/<set>.txt`` lists a split's image ids; ``ImageSets/Main/<class>_<set>.txt`` says
of each of them 1 (present), 0 (present, *difficult*) or -1 (absent). Annotations are not read.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from yacs.config import CfgNode

from tai_dpt.datasets.base import (
    ImageSplit,
    MultiLabelDataset,
    dataset_path,
    vocabulary_from_config,
)
from tai_dpt.errors import InputError, first_few, unknown
from tai_dpt.io.text import read_lines
from tai_dpt.labels.vocabulary import Vocabulary
from tai_dpt.toolbox import DATASET_REGISTRY

DIFFICULT = ("negative", "ignore")
_LISTS = Path("ImageSets", "Main")
_VALUES = {"1": 1, "0": 0, "-1": -1}


@DATASET_REGISTRY.register()
class VOC2007(MultiLabelDataset):
    """``trainval`` to train on, ``test`` to test on; labels are 1, -1, and 0 = difficult.

    ``DATASET.VOC2007.DIFFICULT`` says what a difficult object is in the metric: ``negative``, as
    in the paper, or ``ignore``, left out of its class's ranking as VOC's own devkit does. In
    training on images its label is unknown. ``trainval`` may be missing as long as nothing
    learns from images.
    """

    def __init__(self, cfg: CfgNode) -> None:
        options = cfg.DATASET.VOC2007
        if options.DIFFICULT not in DIFFICULT:
            raise unknown(
                "choice for difficult objects (DATASET.VOC2007.DIFFICULT)",
                options.DIFFICULT,
                DIFFICULT,
            )
        self.ignores_unknown = options.DIFFICULT == "ignore"
        vocabulary = vocabulary_from_config(cfg)
        home = dataset_path(cfg, options.FOLDER)
        has_train = (home / _LISTS / "trainval.txt").is_file()
        super().__init__(
            cfg,
            vocabulary=vocabulary,
            train=voc_split(home, "trainval", vocabulary) if has_train else None,
            test=voc_split(home, "test", vocabulary),
        )


def voc_split(home: Path, name: str, vocabulary: Vocabulary) -> ImageSplit:
    """The images of a set ("trainval", "test", …) in the order of its list, with their labels.

    Args:
        home: the folder ``VOC2007``.
        vocabulary: its ``dataset_names`` are the classes in the names of the label files.

    Raises:
        InputError: a file is missing or damaged, or a label file is not about the listed images.
    """
    ids = image_ids(home, name)
    labels = np.empty((len(ids), len(vocabulary)), np.int8)
    for column, class_name in enumerate(vocabulary.dataset_names):
        labels[:, column] = _class_labels(label_file(home, class_name, name), ids)
    images = home / "JPEGImages"
    return ImageSplit(tuple(ids), tuple(str(images / f"{i}.jpg") for i in ids), labels)


def image_ids(home: Path, name: str) -> list[str]:
    """The image ids that ``ImageSets/Main/<name>.txt`` lists.

    Raises:
        InputError: there is no such file, or nothing in it.
    """
    path = home / _LISTS / f"{name}.txt"
    ids = [line.split()[0] for _, line in read_lines(path) if line.strip()]
    if not ids:
        raise InputError(f"{path}: lists no images")
    return ids


def label_file(home: Path, class_name: str, name: str) -> Path:
    """Where a class's labels of a set are."""
    return home / _LISTS / f"{class_name}_{name}.txt"


def _class_labels(path: Path, ids: list[str]) -> NDArray[np.int8]:
    """A class's label of each of ``ids``, (n,)."""
    values: dict[str, int] = {}
    for number, line in read_lines(path):
        cells = line.split()  # one or two spaces between them
        if not cells:
            continue
        if len(cells) != 2 or cells[1] not in _VALUES:
            raise InputError(
                f"{path}, line {number}: '{line.strip()}' is not an image id and 1, 0 or -1"
            )
        if cells[0] in values:
            raise InputError(f"{path}, line {number}: image '{cells[0]}' was listed before")
        values[cells[0]] = _VALUES[cells[1]]
    listed = set(ids)
    for which, names in (
        ("has no label for", [i for i in ids if i not in values]),
        ("has labels for", [i for i in values if i not in listed]),
    ):
        if names:
            where = "listed in" if which.startswith("has no") else "that are not in"
            shown = first_few(names, 3)
            raise InputError(
                f"{path}: {which} {len(names):,} images {where} {path.parent.name}/"
                f"{path.stem.rpartition('_')[2]}.txt: {shown}; both must come from one archive"
            )
    return np.array([values[i] for i in ids], np.int8)
