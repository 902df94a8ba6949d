"""Image files to tensors: reading, transforms and batches."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as T
from yacs.config import CfgNode

from tai_dpt.backbones.preprocessing import INTERPOLATIONS, read_image
from tai_dpt.errors import InputError, unknown

TEST_TRANSFORMS = ("resize", "center_crop", "normalize")

Transform = Callable[[Image.Image], Tensor]


def test_transform(cfg: CfgNode) -> Transform:
    """CLIP's preprocessing from ``INPUT.*``: resize, centre-crop, normalise.

    With ``center_crop`` the shorter side is resized and the middle cut out; without, the whole
    image is resized to ``INPUT.SIZE`` whatever its shape.
    """
    chosen = cfg.INPUT.TRANSFORMS_TEST
    for name in chosen:
        if name not in TEST_TRANSFORMS:
            raise unknown("test transform (INPUT.TRANSFORMS_TEST)", name, TEST_TRANSFORMS)
    size = tuple(cfg.INPUT.SIZE)
    mode = interpolation(cfg)
    steps: list[Callable] = []
    if "center_crop" in chosen:
        steps += [T.Resize(max(size), mode, antialias=True), T.CenterCrop(size)]
    elif "resize" in chosen:
        steps += [T.Resize(size, mode, antialias=True)]
    steps += [T.ToTensor()]
    if "normalize" in chosen:
        steps += [T.Normalize(cfg.INPUT.PIXEL_MEAN, cfg.INPUT.PIXEL_STD)]
    return T.Compose(steps)


def interpolation(cfg: CfgNode) -> T.InterpolationMode:
    """``INPUT.INTERPOLATION`` as torchvision's constant."""
    if cfg.INPUT.INTERPOLATION not in INTERPOLATIONS:
        raise unknown("interpolation", cfg.INPUT.INTERPOLATION, INTERPOLATIONS)
    return INTERPOLATIONS[cfg.INPUT.INTERPOLATION]


def preprocessing_key(cfg: CfgNode) -> str:
    """What determines the pixels that an encoder sees, as one line."""
    fields = "SIZE", "INTERPOLATION", "PIXEL_MEAN", "PIXEL_STD", "TRANSFORMS_TEST"
    given = [f"{name}={list_or_value(cfg.INPUT[name])}" for name in fields]
    return "; ".join([*given, "transparent parts white"])


def list_or_value(value: Any) -> Any:
    """Tuples as lists: yacs turns one into the other depending on where a value came from."""
    return list(value) if isinstance(value, tuple) else value


class _ImageFiles(Dataset):
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


class _Pixels:
    """Reads a file and transforms it; a class, so that worker processes can be sent it."""

    def __init__(self, transform: Transform) -> None:
        self.transform = transform

    def __call__(self, path: str) -> Tensor:
        return self.transform(read_image(path))


def image_batches(
    paths: Sequence[str], transform: Transform, batches: Sequence[list[int]], *, workers: int
) -> Iterator[Tensor]:
    """The pixels (b, 3, H, W) of each batch of indices in turn, decoded ahead by ``workers``.

    Raises:
        InputError: an image cannot be read; the message names it.
    """
    return pixel_batches(paths, _Pixels(transform), batches, workers=workers)


def pixel_batches(
    items: Sequence[Any],
    read: Callable[[Any], Tensor],
    batches: Sequence[list[int]],
    *,
    workers: int,
) -> Iterator[Tensor]:
    """As :func:`image_batches`, of any items whose pixels (3, H, W) ``read`` gives."""
    for pixels in _read_ahead(items, read, batches, workers):
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
    for batch, items in zip(batches, _read_ahead(paths, _probe, batches, workers), strict=True):
        messages.update({i: m for i, m in zip(batch, items, strict=True) if isinstance(m, str)})
    return messages


def _probe(path: str) -> None:
    read_image(path, glance=True)


def _read_ahead(
    items: Sequence[Any], read: Callable[[Any], Any], batches: Sequence[list[int]], workers: int
) -> DataLoader:
    return DataLoader(
        _ImageFiles(items, read),
        batch_sampler=batches,
        num_workers=max(0, min(workers, len(batches) - 1, _usable_cores())),
        collate_fn=list,
    )


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
