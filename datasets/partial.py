"""Partially labelled training sets: which (image, class) pairs are known.

A mask is a function of its seed, the image's id and the class's name alone. So it is the same for
every trainer, for any subset or order of images and classes, and a smaller proportion knows a
subset of what a larger one knows.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from yacs.config import CfgNode

from tai_dpt.datasets.base import ImageSplit, dataset_path
from tai_dpt.datasets.hashing import uniform_hash
from tai_dpt.errors import InputError, first_few
from tai_dpt.io.arrays import ArraySpec, read_npy, read_npz
from tai_dpt.io.atomic import atomic_write
from tai_dpt.io.opening import expanded
from tai_dpt.io.text import read_lines

MASK_FORMATS = (".npz", ".npy", ".txt")
_PARTS = {
    "ids": ArraySpec("U", ("images",)),
    "class_names": ArraySpec("U", ("classes",)),
    "known": ArraySpec("biuf", ("images", "classes")),
}
# how far a given mask may be from DATASET.PARTIAL.PROPORTION, where both are set, besides chance
_TOLERANCE = 0.02


def draw_mask(
    ids: Sequence[str], class_names: Sequence[str], *, proportion: float, seed: int
) -> NDArray[np.bool_]:
    """Which labels are known, (n, C): each with probability ``proportion``, independently.

    Raises:
        InputError: ``proportion`` is not above 0 and at most 1.
    """
    if not 0 < proportion <= 1:
        raise InputError(
            f"DATASET.PARTIAL.PROPORTION is {proportion}; it must be above 0 and at most 1 (all)"
        )
    return uniform_hash(seed, ids, class_names) < proportion


@dataclass(frozen=True)
class LabelMask:
    """Which labels are known, with the names that say of what."""

    ids: tuple[str, ...]  # n image ids
    class_names: tuple[str, ...]
    known: NDArray[np.bool_]  # (n, C)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an .npz file that ``DATASET.PARTIAL.MASK`` takes."""
        with atomic_write(path) as stream:
            np.savez_compressed(
                stream,
                ids=np.array(self.ids, np.str_),
                class_names=np.array(self.class_names, np.str_),
                known=self.known,
            )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> LabelMask:
        """Read what ``save`` wrote.

        Raises:
            InputError: the file cannot be read, lacks a part, or its parts do not fit.
        """
        parts = read_npz(path, _PARTS)
        return cls(
            tuple(parts["ids"].tolist()),
            tuple(parts["class_names"].tolist()),
            _as_mask(parts["known"], path),
        )

    def of(
        self, ids: Sequence[str], class_names: Sequence[str], *, path: str | os.PathLike[str]
    ) -> NDArray[np.bool_]:
        """The mask of these images and classes, in this order; ``path`` is named in errors.

        Raises:
            InputError: it says nothing of one of them.
        """
        rows = _positions(self.ids, ids, f"{path}: a mask for other images; it lacks")
        columns = _positions(
            self.class_names, class_names, f"{path}: a mask for other classes; it lacks"
        )
        return self.known[np.ix_(rows, columns)]


def partial_labels(cfg: CfgNode, images: ImageSplit, class_names: Sequence[str]) -> ImageSplit:
    """The training images with the labels that ``DATASET.PARTIAL`` leaves known.

    ``MASK`` names a file to read in place of drawing one, relative to ``DATASET.ROOT`` or to the
    working folder:

    * ``.npz``, as ``LabelMask.save`` writes it and every run on images keeps in its output
      folder: images and classes are matched by name;
    * ``.npy``: a matrix (images, classes) of 0 and 1, in the data set's order;
    * ``.txt``, the public VOC2007 release: a line an image, in the order of ``trainval.txt``, of
      1, -1 and 0 (unknown) separated by commas. Where the data set itself is unknown (VOC's
      *difficult*) the file's label counts.

    Labels are 1, -1, and 0 = unknown. A class left without a known positive is warned about.

    Raises:
        InputError: the proportion is out of range; the file has the wrong size or is for other
            images or classes; its share of known labels is not ``PROPORTION``, where that is set.
    """
    options = cfg.DATASET.PARTIAL
    drawn = draw_mask(
        images.ids, class_names, proportion=options.PROPORTION, seed=options.SEED
    )  # also where it is not used: it checks the proportion
    if options.MASK:
        path = _find(cfg, options.MASK)
        labels, share = _labels_from_file(path, images, class_names)
        chance = 4 * (options.PROPORTION * (1 - options.PROPORTION) / drawn.size) ** 0.5
        if options.PROPORTION < 1 and abs(share - options.PROPORTION) > max(_TOLERANCE, chance):
            raise InputError(
                f"{path}: {share:.1%} of its labels are known, but DATASET.PARTIAL.PROPORTION is "
                f"{options.PROPORTION}: give the file of that proportion, or leave it at 1.0"
            )
    else:
        labels = np.where(drawn, images.labels, 0).astype(np.int8)
    without = [
        name
        for name, n in zip(class_names, (labels > 0).sum(0), strict=True)
        if not n and len(images)
    ]
    if without:
        warnings.warn(
            f"{len(without)} of {len(class_names)} classes have no known positive among the "
            f"{len(images):,} training images: {', '.join(without)}",
            stacklevel=2,
        )
    return replace(images, labels=labels)


def mask_of(images: ImageSplit, class_names: Sequence[str]) -> LabelMask:
    """The known labels of images, as a mask to keep."""
    return LabelMask(images.ids, tuple(class_names), images.labels != 0)


def _labels_from_file(
    path: Path, images: ImageSplit, class_names: Sequence[str]
) -> tuple[NDArray[np.int8], float]:
    """The labels that a file leaves known, and the share of labels that it calls known."""
    if path.suffix == ".txt":
        given = _read_label_lines(path, images.labels.shape)
        wrong = (given * images.labels) < 0
        if wrong.any():
            row, column = map(int, np.argwhere(wrong)[0])
            raise InputError(
                f"{path}, line {row + 1}: says {given[row, column]} of '{class_names[column]}', "
                f"but image '{images.ids[row]}' is labelled {images.labels[row, column]}: the "
                "file is for other images or in another order"
            )
        return given, float((given != 0).mean())
    if path.suffix == ".npz":
        known = LabelMask.load(path).of(images.ids, class_names, path=path)
    elif path.suffix == ".npy":
        known = _as_mask(read_npy(path, ArraySpec("biuf", ("images", "classes"))), path)
        _check_shape(path, known.shape, images.labels.shape)
    else:
        raise InputError(
            f"{path}: a mask file ends in {', '.join(MASK_FORMATS)}, not in '{path.suffix}'"
        )
    return np.where(known, images.labels, 0).astype(np.int8), float(known.mean())


def _read_label_lines(path: Path, shape: tuple[int, ...]) -> NDArray[np.int8]:
    lines = [line for _, line in read_lines(path)]
    _check_shape(path, (len(lines), shape[1]), shape)
    labels = np.zeros(shape, np.int8)
    for number, line in enumerate(lines):
        values = [value.strip() for value in line.split(",")]
        if len(values) != shape[1]:
            raise InputError(
                f"{path}, line {number + 1}: {len(values)} labels, but there are {shape[1]} classes"
            )
        if not set(values) <= {"1", "-1", "0"}:
            raise InputError(f"{path}, line {number + 1}: labels are 1, -1 and 0, not '{line}'")
        labels[number] = [int(value) for value in values]
    return labels


def _check_shape(path: Path, given: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if given != wanted:
        raise InputError(
            f"{path}: it is for {' × '.join(map(str, given))} (images × classes), but there are "
            f"{wanted[0]} training images of {wanted[1]} classes"
        )


def _as_mask(values: NDArray[Any], path: str | os.PathLike[str]) -> NDArray[np.bool_]:
    if values.dtype != bool and not np.isin(values, (0, 1)).all():
        raise InputError(f"{path}: a mask holds 0 (unknown) and 1 (known) only")
    return values.astype(bool)


def _find(cfg: CfgNode, name: str) -> Path:
    here = expanded(name)
    in_root = expanded(cfg.DATASET.ROOT) / here
    return here if here.is_file() and not in_root.is_file() else dataset_path(cfg, name)


def _positions(there: Sequence[str], wanted: Sequence[str], complaint: str) -> list[int]:
    position = {name: i for i, name in enumerate(there)}
    missing = [name for name in wanted if name not in position]
    if missing:
        shown = first_few(missing)
        raise InputError(f"{complaint} {len(missing):,} of {len(wanted):,}: {shown}")
    return [position[name] for name in wanted]
