"""NUS-WIDE, 81 concepts, in its official layout.

``ImageList/{Train,Test}Imagelist.txt`` list the images, with backslashes, relative to ``Flickr``;
``TrainTestLabels/Labels_<concept>_{Train,Test}.txt`` hold a 0 or 1 for each, in that order. The
published archives unpack ``TrainTestLabels`` into ``Groundtruth`` and ``Concepts81.txt`` into
``ConceptsList``; both places are looked in.
"""

from __future__ import annotations

from dataclasses import replace
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
from tai_dpt.datasets.class_subsets import ANY_LIST
from tai_dpt.datasets.nus_tags import TAG_SUBSETS, seen_tags, tag_labels, with_tags
from tai_dpt.errors import InputError, first_few, unknown
from tai_dpt.io.opening import open_file
from tai_dpt.io.text import read_lines
from tai_dpt.labels.spelling import normalise
from tai_dpt.labels.vocabulary import Vocabulary
from tai_dpt.toolbox import DATASET_REGISTRY

UNLABELLED = ("keep", "drop")
_PLACES = {
    "Concepts81.txt": "ConceptsList",
    "TrainTestLabels": "Groundtruth",
    "TagList1k.txt": "NUS_WID_Tags",
    "AllTags1k.txt": "NUS_WID_Tags",
}
_BOM = b"\xef\xbb\xbf"
_ZERO, _ONE = b"01"


@DATASET_REGISTRY.register()
class NUSWIDE(MultiLabelDataset):
    """The 161,789 training and 107,859 test images of the official lists.

    Many images have none of the concepts. ``DATASET.NUSWIDE.UNLABELLED`` ``keep``, as in the
    public code, tests on all of them; ``drop`` leaves them out of both splits.
    """

    def __init__(self, cfg: CfgNode) -> None:
        options = cfg.DATASET.NUSWIDE
        if options.UNLABELLED not in UNLABELLED:
            raise unknown(
                "choice for images without labels (DATASET.NUSWIDE.UNLABELLED)",
                options.UNLABELLED,
                UNLABELLED,
            )
        concepts = vocabulary_from_config(cfg)
        home = dataset_path(cfg, options.FOLDER)
        check_concepts(home, concepts)
        subset = cfg.DATASET.CLASSES
        if subset and subset not in (valid := (*TAG_SUBSETS, *ANY_LIST)):
            raise unknown("subset of NUS-WIDE's classes (DATASET.CLASSES)", subset, valid)
        chosen = subset in TAG_SUBSETS
        tags: tuple[str, ...] = ()
        if chosen and subset != "concepts81":
            tags = seen_tags(place(home, "TagList1k.txt"), concepts.dataset_names)
        with_concepts = subset != "tags925"
        vocabulary = with_tags(concepts if with_concepts else None, tags)
        splits = {}
        for split in ("train", "test"):
            images = nuswide_split(home, split.title(), concepts)
            if tags:
                every = image_ids(home, "")
                shown = tag_labels(place(home, "AllTags1k.txt"), every, images.ids, tags)
                labels = np.hstack([images.labels, shown] if with_concepts else [shown])
                images = replace(images, labels=labels)
            if options.UNLABELLED == "drop":
                images = images.subset(np.flatnonzero((images.labels > 0).any(1)))
            splits[split] = images
        super().__init__(
            cfg, vocabulary=vocabulary, chosen=chosen, train=splits["train"], test=splits["test"]
        )


def nuswide_split(home: Path, name: str, vocabulary: Vocabulary) -> ImageSplit:
    """The images of ``Train`` or ``Test``, in the list's order, with their labels (1 or -1).

    Args:
        home: the folder ``NUSWIDE``.
        vocabulary: its ``dataset_names`` are the concepts in the names of the label files.

    Raises:
        InputError: a file is missing or damaged, or a label file has another length than the list.
    """
    ids = image_ids(home, name)
    labels = np.empty((len(ids), len(vocabulary)), np.int8)
    for column, concept in enumerate(vocabulary.dataset_names):
        path = label_file(home, concept, name)
        values = _zeros_and_ones(path)
        if len(values) != len(ids):
            raise InputError(
                f"{path}: {len(values):,} labels, but {name}Imagelist.txt lists {len(ids):,} "
                "images; both must be the official files, whole"
            )
        labels[:, column] = np.where(values, 1, -1)
    images = home / "Flickr"
    return ImageSplit(tuple(ids), tuple(str(images / i) for i in ids), labels)


def image_ids(home: Path, name: str) -> list[str]:
    """The images of ``ImageList/<name>Imagelist.txt``, as "actor/0001_2124494179.jpg".

    Args:
        name: ``Train``, ``Test``, or "" for all.

    Raises:
        InputError: there is no such file, or nothing in it.
    """
    path = home / "ImageList" / f"{name}Imagelist.txt"
    ids = [line.strip().replace("\\", "/") for _, line in read_lines(path) if line.strip()]
    if not ids:
        raise InputError(f"{path}: lists no images")
    return ids


def label_file(home: Path, concept: str, name: str) -> Path:
    """Where a concept's labels of ``Train`` or ``Test`` are."""
    return place(home, "TrainTestLabels") / f"Labels_{concept}_{name}.txt"


def place(home: Path, name: str) -> Path:
    """A file or folder of the archives: in ``home``, or in the folder that they unpack it to."""
    unpacked = home / _PLACES[name] / name
    return unpacked if unpacked.exists() and not (home / name).exists() else home / name


def check_concepts(home: Path, vocabulary: Vocabulary) -> None:
    """Raise InputError where a class of the vocabulary is not in ``Concepts81.txt``."""
    path = place(home, "Concepts81.txt")
    concepts = {normalise(line) for _, line in read_lines(path)}
    foreign = [name for name in vocabulary.dataset_names if normalise(name) not in concepts]
    if foreign:
        raise InputError(
            f"{path}: {len(foreign)} of the {len(vocabulary)} classes are not in it: "
            f"{first_few(foreign)}; DATASET.VOCABULARY for this data set is nuswide"
        )


def _zeros_and_ones(path: Path) -> NDArray[np.bool_]:
    """The labels of a file of one 0 or 1 a line; there are 162 files of 100,000 lines and more."""
    with open_file(path, remedy="see DATASETS.md for the layout") as stream:
        raw = stream.read().removeprefix(_BOM)
    data = np.frombuffer(raw, np.uint8)
    solid = np.flatnonzero(data > 32)  # everything but white space
    values = data[solid]
    if not (np.isin(values, (_ZERO, _ONE)).all() and (np.diff(solid) > 1).all()):
        bad = next(
            (number, line)
            for number, line in enumerate(raw.decode("utf-8", "replace").splitlines(), 1)
            if line.strip(" \t") not in ("", "0", "1")
        )
        raise InputError(f"{path}, line {bad[0]}: a label is 0 or 1, not '{bad[1].strip()[:40]}'")
    labels: NDArray[np.bool_] = values == _ONE
    return labels
