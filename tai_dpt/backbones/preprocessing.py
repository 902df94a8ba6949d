"""From an image to the pixels that a CLIP sees: what was done to the images it learned from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tai_dpt.errors import InputError, unknown
from tai_dpt.io.images import READING, AnyImage, as_image

# of the images that OpenAI's CLIP was trained on, RGB in [0, 1]
PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)
PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)

VIEWS = ("center", "whole")
# where the middle begins when an odd number of pixels is left over
CORNERS = ("nearest", "floor")
INTERPOLATIONS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
}
_LONGEST_ASPECT = 8
_MUCH = 4_000_000  # pixels that any image may have when it is resized
_LONGEST_SIDE = 8192
_LARGEST = 1_000  # of mean and std: pixels are 0 … 1


@dataclass(frozen=True)
class Preprocessing:
    """Resize, cut, normalise. Every road from an image to features goes through this.

    Args:
        size: (height, width) of the result.
        view: "center" resizes the shorter side and cuts out the middle, as CLIP does; "whole"
            resizes the whole image, whatever its shape.
        interpolation: a key of ``INTERPOLATIONS``.
        corner: "center" cuts at half of what is left over; "nearest" rounds that to a whole pixel
            as OpenAI's and open_clip's do, "floor" cuts half a pixel off it as transformers does.
        mean, std: of each of red, green and blue, in [0, 1].

    Raises:
        InputError: a value that no image can be prepared by; the message names the argument.
    """

    size: tuple[int, int]
    view: str = "center"
    interpolation: str = "bicubic"
    mean: tuple[float, float, float] = PIXEL_MEAN
    std: tuple[float, float, float] = PIXEL_STD
    corner: str = CORNERS[0]

    def __post_init__(self) -> None:
        _require(
            _numbers(self.size, 2, int) and all(1 <= n <= _LONGEST_SIDE for n in self.size),
            f"size is {self.size!r}; it must be a height and a width, 1 … {_LONGEST_SIDE} pixels",
        )
        if self.view not in VIEWS:
            raise unknown("view", self.view, VIEWS)
        if self.interpolation not in list(INTERPOLATIONS):
            raise unknown("interpolation", self.interpolation, INTERPOLATIONS)
        if self.corner not in CORNERS:
            raise unknown("corner", self.corner, CORNERS)
        for name in ("mean", "std"):
            values = getattr(self, name)
            _require(
                _numbers(values, 3, int | float) and all(abs(v) <= _LARGEST for v in values),
                f"{name} is {values!r}; it must be three numbers, for red, green and blue, none "
                f"beyond {_LARGEST:,}",
            )
        _require(
            all(abs(value) > 1e-6 for value in self.std),
            f"std is {self.std!r}; pixels are divided by it, so it must not be 0",
        )
        # lists come from yaml and JSON; tuples make equal ones equal, and the whole hashable
        for name in ("size", "mean", "std"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def read(self, image: AnyImage) -> Image.Image:
        """An image in any form as RGB; a large JPEG no finer than it takes to be prepared.

        Raises:
            InputError: the file cannot be read, or the values are no image.
        """
        return as_image(image, side=self.side)

    @property
    def side(self) -> int:
        """Pixels that the shorter side of an image is resized to at most, see ``read_image``; 0
        where each pixel may count for itself (nearest), so that none is left out."""
        return 0 if self.interpolation == "nearest" else max(self.size)

    def __call__(self, image: Image.Image) -> Tensor:
        """The pixels (3, H, W) of an RGB image, fp32."""
        return self._pixels(self.seen(image))

    def seen(self, image: Image.Image) -> Image.Image:
        """What of an RGB image is seen, at the size it is seen at."""
        if self.view == "whole":
            return self._resize(image, self.size)
        height, width = self._whole(image)
        spare = width - self.size[1], height - self.size[0]
        left, top = (n // 2 if self.corner == "floor" else round(n / 2) for n in spare)
        right, bottom = left + self.size[1], top + self.size[0]
        if height * width <= max(_MUCH, _LONGEST_ASPECT * max(self.size) ** 2):
            return self._resize(image, (height, width)).crop((left, top, right, bottom))
        # the middle alone, equal to a few levels: the whole would not fit in memory at 20,000 × 1
        across, down = image.width / width, image.height / height
        box = left * across, top * down, right * across, bottom * down
        return self._resize(image, self.size, box)

    def uncut(self, image: Image.Image, *, multiple: int) -> Tensor:
        """The pixels (3, H, W) of all of an image, at the scale that the model sees it at.

        Args:
            multiple: both sides become multiples of this; where the view is "center", an image
                longer than 8:1 is squeezed.
        """
        sides: list[float] = list(self.size)
        if self.view == "center":
            shorter = min(image.size)
            aspects = (min(side / shorter, _LONGEST_ASPECT) for side in image.size[::-1])
            sides = [max(self.size) * aspect for aspect in aspects]
        height, width = (max(1, round(side / multiple)) * multiple for side in sides)
        return self._pixels(self._resize(image, (height, width)))

    @property
    def identity(self) -> str:
        """What determines the pixels of an image file, as one line: part of a store's key."""
        return json.dumps({**self.as_dict(), "reading": READING}, sort_keys=True)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON takes them."""
        values = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        if self.corner == CORNERS[0]:  # stays as it was written before there was a choice
            del values["corner"]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocessing:
        """The preprocessing that ``as_dict`` described.

        Raises:
            InputError: a value is missing, unknown or wrong.
        """
        names = [field.name for field in fields(cls)]
        if not isinstance(values, Mapping) or "size" not in values:
            raise InputError(f"the preprocessing is {values!r}; it must have {', '.join(names)}")
        for name in values:
            if name not in names:
                raise unknown("entry of the preprocessing", name, names)
        return cls(**values)

    def _whole(self, image: Image.Image) -> tuple[int, int]:
        """(height, width) of the image with its shorter side at the size that is seen; the
        arithmetic is torchvision's, of which the import alone takes longer than torch's."""
        size, shorter = max(self.size), min(image.size)
        width, height = (size if n == shorter else int(size * n / shorter) for n in image.size)
        return height, width

    def _resize(
        self,
        image: Image.Image,
        size: tuple[int, int],
        box: tuple[float, float, float, float] | None = None,
    ) -> Image.Image:
        """An image, or the part of it in ``box``, at (height, width)."""
        return image.resize(size[::-1], INTERPOLATIONS[self.interpolation], box)

    def _pixels(self, image: Image.Image) -> Tensor:
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div_(255)
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (self.mean, self.std))
        return pixels.sub_(mean).div_(std)


def _numbers(values: Any, count: int, kind: Any) -> bool:
    """Whether these are ``count`` numbers, of which True and False are none."""
    return (
        isinstance(values, Sequence)
        and len(values) == count
        and all(isinstance(v, kind) and not isinstance(v, bool) for v in values)
    )


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise InputError(otherwise)
