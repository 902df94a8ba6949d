"""Image files to tensors: the config's preprocessing, and batches read ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from yacs.config import CfgNode

from tai_dpt.backbones.preprocessing import Preprocessing
from tai_dpt.errors import InputError, unknown
from tai_dpt.io.cores import usable_cores
from tai_dpt.io.images import read_image

TEST_TRANSFORMS = ("resize", "center_crop", "normalize")

_FIELDS = {
    "SIZE": "size",
    "INTERPOLATION": "interpolation",
    "PIXEL_MEAN": "mean",
    "PIXEL_STD": "std",
}


def preprocessing_from_config(cfg: CfgNode, own: Preprocessing) -> Preprocessing:
    """``own``, the backbone's, with what ``INPUT.*`` sets in its place.

    ``INPUT.TRANSFORMS_TEST`` chooses the view: with ``center_crop`` the shorter side is resized
    and the middle cut out, with ``resize`` alone the whole image is resized whatever its shape;
    without ``normalize`` pixels stay as they are, in [0, 1].

    Raises:
        InputError: a value that no image can be prepared by; the message names the key.
    """
    for key, field in _FIELDS.items():
        value = cfg.INPUT[key]
        if value:
            own = _with(own, f"INPUT.{key}", **{field: value})
    steps = cfg.INPUT.TRANSFORMS_TEST
    if not steps:
        return own
    for name in steps:
        if name not in TEST_TRANSFORMS:
            raise unknown("test transform (INPUT.TRANSFORMS_TEST)", name, TEST_TRANSFORMS)
    if "resize" not in steps and "center_crop" not in steps:
        raise InputError(
            f"INPUT.TRANSFORMS_TEST is {list(steps)}; it needs resize or center_crop, as images "
            "must all have one size"
        )
    own = replace(own, view="center" if "center_crop" in steps else "whole")
    return own if "normalize" in steps else replace(own, mean=(0.0,) * 3, std=(1.0,) * 3)


def _with(own: Preprocessing, key: str, **change: Any) -> Preprocessing:
    try:
        return replace(own, **change)
    except InputError as error:
        raise InputError(f"{key}: {error}") from None


class _ImageFiles(Dataset[Any]):
    """Pixels of image files; the error's message for one that cannot be read.

    A message, because an exception raised in a worker process arrives wrapped in a traceback.
    """

    def __init__(self, items: Sequence[Any], read: Callable[[Any], Any]) -> None:
        self.items = items
        self.read = read

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        try:
            return self.read(self.items[index])
        except InputError as error:
            return str(error)


class Pixels:
    """Reads a file and prepares it; a class, so that worker processes can be sent it."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        self.preprocessing = preprocessing

    def __call__(self, path: str) -> Tensor:
        return self.preprocessing(self.preprocessing.read(path))


def image_batches(
    paths: Sequence[str],
    preprocessing: Preprocessing,
    batches: Sequence[list[int]],
    *,
    workers: int,
) -> Iterator[Tensor]:
    """The pixels (b, 3, H, W) of each batch of indices in turn, decoded ahead by ``workers``.

    Raises:
        InputError: an image cannot be read; the message names it.
    """
    return pixel_batches(paths, Pixels(preprocessing), batches, workers=workers)


def pixel_batches(
    items: Sequence[Any],
    read: Callable[[Any], Tensor],
    batches: Sequence[list[int]],
    *,
    workers: int,
) -> Iterator[Tensor]:
    """As :func:`image_batches`, of any items whose pixels (3, H, W) ``read`` gives."""
    for pixels in read_batches(items, read, batches, workers):
        for one in pixels:
            if isinstance(one, str):
                raise InputError(f"{one}; DATASET.ON_BAD_IMAGE skip leaves such images out")
        yield torch.stack(pixels)


def unreadable_images(paths: Sequence[str], *, workers: int) -> dict[int, str]:
    """The message of every image that cannot be read, by index.

    JPEG is decoded at an eighth of its size, which finds a truncated file as well as all of it.
    """
    batches = [list(range(i, min(i + 64, len(paths)))) for i in range(0, len(paths), 64)]
    messages = {}
    for batch, items in zip(batches, read_batches(paths, _probe, batches, workers), strict=True):
        messages.update({i: m for i, m in zip(batch, items, strict=True) if isinstance(m, str)})
    return messages


def _probe(path: str) -> None:
    read_image(path, glance=True)


def read_batches(
    items: Sequence[Any], read: Callable[[Any], Any], batches: Sequence[list[int]], workers: int
) -> DataLoader[Any]:
    """What ``read`` gives for the items of each batch in turn, read ahead by ``workers`` processes;
    the message in place of an item that cannot be read."""
    return DataLoader(
        _ImageFiles(items, read),
        batch_sampler=batches,
        num_workers=max(0, min(workers, len(batches) - 1, usable_cores())),
        collate_fn=list,
    )
