"""Training images at random: crops, Cutout, colour and geometry policies, flips.

The view of an image is a function of a seed, a number and the file's name alone: it does not
matter which worker makes it, when, or what was made before. Torch's generator is the only
randomness used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor
from yacs.config import CfgNode

from tai_dpt.backbones.preprocessing import Preprocessing
from tai_dpt.errors import InputError, unknown
from tai_dpt.io.images import read_image

if TYPE_CHECKING:
    from torchvision import transforms as T

AUGMENTATIONS = ("random_resized_crop", "cutout", "randaugment", "MLC_Policy", "random_flip")
TRAIN_TRANSFORMS = (*AUGMENTATIONS, "normalize")

Transform = Callable[[Image.Image], Tensor]

_GREY = (128, 128, 128)
_CIFAR10 = Path(__file__).with_name("autoaugment_cifar10.txt")
_WITHOUT_MAGNITUDE = ("AutoContrast", "Equalize", "Invert")


def augments(cfg: CfgNode) -> bool:
    """Whether ``INPUT.TRANSFORMS`` asks for anything random.

    Without, training images are prepared as test images are.

    Raises:
        InputError: an unknown name.
    """
    for name in cfg.INPUT.TRANSFORMS:
        if name not in TRAIN_TRANSFORMS:
            raise unknown("training transform (INPUT.TRANSFORMS)", name, TRAIN_TRANSFORMS)
    return any(name in AUGMENTATIONS for name in cfg.INPUT.TRANSFORMS)


def train_transform(cfg: CfgNode, preprocessing: Preprocessing) -> Transform:
    """The random transform that ``INPUT.TRANSFORMS`` names.

    Size, interpolation, mean and standard deviation of the pixels are ``preprocessing``'s.

    * ``random_resized_crop``: a crop of ``RRCROP_SCALE`` of the area;
    * ``cutout``: the whole image, resized, with a rectangle of ``CUTOUT_FACTOR`` of each side
      painted over. With both, either the one or the other, at even odds, as in DualCoOp;
    * ``randaugment``: ``RANDAUGMENT_N`` operations of magnitude ``RANDAUGMENT_M`` (of 30);
    * ``MLC_Policy``: one of the 117 sub-policies of AutoAugment that the public code of TaI-DPT
      has for DualCoOp, 25 found for ImageNet and 92 found for CIFAR-10, at even odds;
    * ``random_flip``: left to right, at even odds;
    * ``normalize``: by the mean and the standard deviation.
    """
    from torchvision import transforms as T  # here: it takes longer to import than torch

    chosen, size = cfg.INPUT.TRANSFORMS, preprocessing.size
    mode = T.InterpolationMode(preprocessing.interpolation)
    resize = T.Resize(size, mode, antialias=True)
    crop = T.RandomResizedCrop(size, tuple(cfg.INPUT.RRCROP_SCALE), interpolation=mode)
    cut = T.Compose([resize, Cutout(cfg.INPUT.CUTOUT_FACTOR)])
    steps: list[Callable[[Any], Any]] = []
    if "random_resized_crop" in chosen:
        steps.append(OneOf(crop, cut) if "cutout" in chosen else crop)
    else:
        steps.append(cut if "cutout" in chosen else resize)
    if "randaugment" in chosen:
        n, m = cfg.INPUT.RANDAUGMENT_N, cfg.INPUT.RANDAUGMENT_M
        steps.append(T.RandAugment(n, m, fill=list(_GREY)))
    if "MLC_Policy" in chosen:
        steps.append(_mixed_policy())
    if "random_flip" in chosen:
        steps.append(T.RandomHorizontalFlip())
    steps.append(T.ToTensor())
    if "normalize" in chosen:
        steps.append(T.Normalize(preprocessing.mean, preprocessing.std))
    view: Transform = T.Compose(steps)
    return view


def _mixed_policy() -> T.AutoAugment:
    """ImageNet's sub-policies, which torchvision has, and further ones of CIFAR-10's."""
    from torchvision import transforms as T

    mixed = T.AutoAugment(T.AutoAugmentPolicy.IMAGENET, fill=list(_GREY))
    for line in _CIFAR10.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        words = line.split()
        first, second = (
            (name, float(probability), None if name in _WITHOUT_MAGNITUDE else int(magnitude))
            for name, probability, magnitude in (words[:3], words[3:])
        )
        mixed.policies.append((first, second))
    return mixed


def augmentation_identity(cfg: CfgNode, preprocessing: Preprocessing) -> str:
    """What determines a view besides its file, seed and number, as one line."""
    names = "TRANSFORMS", "RRCROP_SCALE", "CUTOUT_FACTOR", "RANDAUGMENT_N", "RANDAUGMENT_M"
    options = [f"{name}={_list_or_value(cfg.INPUT[name])}" for name in names]
    return "; ".join([*options, preprocessing.identity])


def _list_or_value(value: Any) -> Any:
    """Tuples as lists: yacs turns one into the other depending on where a value came from."""
    return list(value) if isinstance(value, tuple) else value


class ViewReader:
    """Reads view ``number`` of an image file: the same pixels whenever it is asked for."""

    def __init__(self, transform: Transform, *, seed: int) -> None:
        self.transform = transform
        self.seed = seed

    def __call__(self, item: tuple[str, int]) -> Tensor:
        path, number = item
        image = read_image(path)  # whole: of a crop it may see few pixels
        name = f"{self.seed}\t{number}\t{Path(path).name}"
        digest = hashlib.blake2b(name.encode(errors="surrogateescape"), digest_size=7).digest()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int.from_bytes(digest, "little"))
            return self.transform(image)


class Cutout:
    """Paints a rectangle in a random colour over an image, around a random point of it.

    It has ``factor`` of the image's height and width, less what falls outside (DeVries & Taylor
    2017, as in DualCoOp).
    """

    def __init__(self, factor: float) -> None:
        if not 0 < factor < 1:
            raise InputError(f"INPUT.CUTOUT_FACTOR is {factor}; it must be between 0 and 1")
        self.factor = factor

    def __call__(self, image: Image.Image) -> Image.Image:
        box = []
        for side in image.size:
            half, centre = int(self.factor * side / 2 + 0.5), int(torch.randint(side, ()))
            box.append((max(0, centre - half), min(side, centre + half)))
        colour = tuple(torch.randint(256, (3,)).tolist())
        (left, right), (upper, lower) = box
        result = image.copy()
        result.paste(colour, (left, upper, right, lower))
        return result


class OneOf:
    """One of several transforms, each as likely."""

    def __init__(self, *transforms: Callable[[Image.Image], Image.Image]) -> None:
        self.transforms = transforms

    def __call__(self, image: Image.Image) -> Image.Image:
        return self.transforms[int(torch.randint(len(self.transforms), ()))](image)
