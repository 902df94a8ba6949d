"""Images of any kind, in files or in memory, as upright RGB: the one reader there is."""

from __future__ import annotations

import io
import math
import os
import re
import stat
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from torch import Tensor

from tai_dpt.errors import InputError, shorten
from tai_dpt.io.image_formats import readable_formats
from tai_dpt.io.tar_images import TarImage

#: what ``as_image`` takes for one image
AnyImage = str | os.PathLike[str] | Image.Image | np.ndarray | Tensor

#: raise it when the same file comes out as other pixels: what was computed from them is stale
READING = 4
#: environment variable: the most pixels of an image that are read, in millions
MOST_MEGAPIXELS = "TAI_DPT_MAX_MEGAPIXELS"

# A JPEG of more than ``_WHOLE`` pixels is decoded no finer than ``_FINER`` times what it is resized
# to (docs/backbones.md has what that changes). Images of VOC2007 and COCO have a fifth of that.
_WHOLE = 2_000_000
_FINER = 3
# What has more pixels than this is shrunk while (JPEG) or right after it is decoded: CLIP sees a
# few hundred pixels a side.
_LARGE = 50_000_000
_STRIP = 4_000_000  # pixels that are held as colours at a time while an image is shrunk
_MOST_MEGAPIXELS = 400  # decoded: 1.6 GB of colours, 0.4 GB of a palette's or 1-bit pixels
_TEXTS = {b"iCCP", b"iTXt", b"tEXt", b"zTXt"}  # chunks of PNG that change no pixel
_DAMAGED_EXIF = (OSError, SyntaxError, ValueError, TypeError, KeyError, struct.error)
_PNG = b"\x89PNG\r\n\x1a\n"


def as_image(value: AnyImage, *, side: int = 0) -> Image.Image:
    """One image in any form as RGB.

    Args:
        value: a path; a PIL image; an array (H, W), (H, W, 3) or (H, W, 4); a tensor (3, H, W).
            Arrays and tensors hold whole numbers 0 … 255 or fractions 0 … 1.
        side: of a path, see ``read_image``.

    Raises:
        InputError: the file cannot be read, or the values are no image.
    """
    if isinstance(value, str | os.PathLike):
        return read_image(value, side=side)
    if isinstance(value, Image.Image):
        if not value.width or not value.height:
            raise InputError(f"an image of {value.width} × {value.height} has no pixels")
        return _upright_rgb(value)
    if isinstance(value, Tensor):
        if value.ndim != 3 or value.shape[0] not in (1, 3):
            raise InputError(f"a tensor image is (3, H, W), not {tuple(value.shape)}")
        array = value.detach().float().cpu() if value.is_floating_point() else value.cpu()
        return _from_array(array.permute(1, 2, 0).numpy())
    if isinstance(value, np.ndarray):
        return _from_array(value)
    raise InputError(
        f"an image is a path, a PIL image, an array or a tensor, not a {type(value).__name__}"
    )


def read_image(
    source: str | os.PathLike[str] | bytes, *, name: str = "", side: int = 0, glance: bool = False
) -> Image.Image:
    """An image file as RGB, upright (EXIF), the first frame of an animation.

    Gray of more than 8 bits is read as bright as its 8-bit twin: 16 bits count up to 65,535, other
    whole numbers and fractions up to 1, 255 or 65,535, whichever holds them all; values beyond, as
    instruments give, run from their lowest to their highest. A very large image is shrunk.

    Args:
        source: the file, also one in a tar, or its content.
        name: what messages call it; the file's path where left out.
        side: pixels of the side that the shorter one is going to be resized to, where that is
            known: a large JPEG is decoded at a half, a quarter or an eighth of its size where this
            leaves three times as many.
        glance: decode a JPEG at an eighth of its size, only to find out whether it can be read.

    Raises:
        InputError: the file cannot be read as an image, or has more pixels than the environment
            variable ``MOST_MEGAPIXELS`` names allows; with its name and the reason.
    """
    path, content = ("", source) if isinstance(source, bytes) else (source, None)
    name = name or os.fspath(path)
    try:
        content = source.read() if isinstance(source, TarImage) else content
        mode = os.stat(path).st_mode if content is None else stat.S_IFREG
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise InputError(f"{name}: a pipe or a device, not an image file")
        with _pixel_limit, warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="PIL")  # of large files, EXIF: they name none
            try:
                file = path if content is None else io.BytesIO(content)
                return _decoded(file, side=side, glance=glance)
            except ValueError:  # Pillow refuses a PNG with long texts or a large colour profile
                content = Path(path).read_bytes() if content is None else content
                if not content.startswith(_PNG):
                    raise
                return _decoded(io.BytesIO(_without_texts(content)), side=side, glance=glance)
    except InputError:
        raise
    except Image.DecompressionBombError:
        raise InputError(
            f"{name}: more than {(most := _most_megapixels()):,} million pixels, which "
            "would take much memory; shrink it, or set the environment variable "
            f"{MOST_MEGAPIXELS} to more, e.g. {MOST_MEGAPIXELS}={2 * most}"
        ) from None
    except FileNotFoundError:
        raise InputError(f"{name}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{name}: a folder, not an image") from None
    except Exception as error:  # Pillow's readers raise all sorts on a damaged file
        said = str(error).replace(f" {os.fspath(path)!r}", "")
        reason = re.sub(r" <_io\.BytesIO[^>]*>", "", said) or type(error).__name__
        raise InputError(f"{name}: cannot be read as an image ({reason})") from None


def upright_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Width and height in pixels of an image file that ``read_image`` reads, upright (EXIF)."""
    with _pixel_limit, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        try:
            image = _opened(io.BytesIO(path.read()) if isinstance(path, TarImage) else path)
        except ValueError:  # a PNG that Pillow refuses, see ``read_image``
            return read_image(path).size
        with image, suppress(*_DAMAGED_EXIF):
            if image.getexif().get(ExifTags.Base.Orientation, 1) > 4:
                return image.height, image.width
        return image.size


def _decoded(
    source: str | os.PathLike[str] | io.BytesIO, *, side: int, glance: bool
) -> Image.Image:
    with _opened(source) as image:
        if glance:
            image.draft("RGB", (1, 1))
        elif (shrink := _shrink(image, side)) > 1:
            image.draft("RGB", (image.width // shrink, image.height // shrink))
        pixels = image.width * image.height
        if pixels > _most_megapixels() * 1_000_000:
            raise Image.DecompressionBombError
        if pixels > 2 * _LARGE:
            image.load()  # which turns a TIFF
            exif = image.getexif().tobytes()
            image = _by_strips(image, math.isqrt(pixels // _LARGE) + 1)
            image.info["exif"] = exif
        return _upright_rgb(image)


def _shrink(image: Image.Image, side: int) -> int:
    """By how much a JPEG is shrunk while it is decoded: 1, 2, 4 or 8."""
    pixels, shrink = image.width * image.height, 1
    if pixels > _WHOLE and side:
        # of its sides nothing is rounded, so that the view is the same to a pixel
        while shrink < 8 and not (image.width | image.height) % (2 * shrink):
            if min(image.size) < 2 * shrink * _FINER * side:
                break
            shrink *= 2
    if pixels > _LARGE:
        shrink = max(shrink, 2)
        while pixels > 2 * _LARGE * shrink**2 and shrink < 8:
            shrink *= 2
    return shrink


def _opened(source: str | os.PathLike[str] | io.BytesIO) -> Image.Image:
    try:
        return Image.open(source, formats=readable_formats())
    except Image.DecompressionBombError:
        try:
            image = JpegImageFile(source)  # it can be decoded at an eighth of its size
        except SyntaxError:
            image = None
        if image is None or image.info.get("progressive"):  # which is held whole all the same
            raise
        return image


def _by_strips(image: Image.Image, factor: int) -> Image.Image:
    """An image of any mode as RGB, shrunk; one strip at a time is held as colours.

    Pillow shrinks no palette's, 1-bit or 16-bit pixels, and as colours they take four times the
    memory and more.
    """
    size = (-(-image.width // factor), -(-image.height // factor))
    small = Image.new("RGB", size)
    scale = _scale(image) if _is_deep(image) else None
    for box in _strips(image, factor):
        strip = _rgb(image.crop(box), scale).reduce(factor)
        small.paste(strip, (0, box[1] // factor))
    return small


def _strips(image: Image.Image, factor: int = 1) -> Iterator[tuple[int, int, int, int]]:
    """Boxes of whole rows, as many as ``factor`` parts evenly and ``_STRIP`` pixels hold."""
    rows = factor * max(1, _STRIP // (image.width * factor))
    for top in range(0, image.height, rows):
        yield 0, top, image.width, min(top + rows, image.height)


class _PixelLimit:
    """Pillow's limit on pixels, ours while images are read: several threads may do so at once."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.readers = 0

    def __enter__(self) -> None:
        # Pillow warns from its limit on, and refuses from twice as much
        ours = (_most_megapixels() * 1_000_000 + 1) // 2
        with self.lock:
            if not self.readers:
                self.usual = Image.MAX_IMAGE_PIXELS
            self.readers += 1
            Image.MAX_IMAGE_PIXELS = ours

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.readers -= 1
            if not self.readers:
                Image.MAX_IMAGE_PIXELS = self.usual


_pixel_limit = _PixelLimit()


def _most_megapixels() -> int:
    given = os.environ.get(MOST_MEGAPIXELS, "").strip() or str(_MOST_MEGAPIXELS)
    if not (given.isascii() and given.isdecimal() and len(given) < 10 and int(given)):
        raise InputError(
            f"{MOST_MEGAPIXELS} is '{shorten(given)}'; a whole number of millions of pixels"
        )
    return int(given)


def _without_texts(content: bytes) -> bytes:
    """A PNG without its texts and colour profile, which change no pixel here."""
    kept, place = [_PNG], len(_PNG)
    while place + 8 <= len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        end = place + 12 + length  # length, kind, data, check sum
        if content[place + 4 : place + 8] not in _TEXTS:
            kept.append(content[place:end])
        place = end
    return b"".join(kept)


def _upright_rgb(image: Image.Image) -> Image.Image:
    # damaged EXIF says nothing of how to turn it; a damaged image fails below
    with suppress(*_DAMAGED_EXIF):
        if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:  # else Pillow makes a copy
            image = ImageOps.exif_transpose(image)
    return _by_strips(image, 1) if _is_deep(image) else _rgb(image)


def _rgb(image: Image.Image, scale: tuple[float, float] | None = None) -> Image.Image:
    """As RGB; ``scale``: see ``_scale``."""
    if scale:
        return _from_deep(image, *scale)
    if image.mode in ("RGBa", "La"):  # colours already weakened by what they let through
        image = image.convert(image.mode.upper())
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        # what is transparent shows white paper, not whatever colour the file hides there
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(paper, image).convert("RGB")
    if image.mode == "RGB":  # of which Pillow makes a copy
        image.load()
        return image
    return image.convert("RGB")


def _is_deep(image: Image.Image) -> bool:
    """Whether it is gray of 16 or 32 bits, whose values Pillow would cut at 255."""
    return image.mode == "F" or image.mode.startswith("I")


def _scale(image: Image.Image) -> tuple[float, float]:
    """The lowest and the highest value of a deep image; of 16 bits those that they can hold."""
    if image.mode.startswith("I;16") or image.format == "PNG":
        return 0, 65_535
    strips = [image.crop(box) for box in _strips(image)]
    if not any(np.isfinite(np.asarray(strip)).any() for strip in strips):
        raise ValueError("none of its values is a finite number")
    extremes = [(float(values.min()), float(values.max())) for values in map(_numbers, strips)]
    return min(low for low, _ in extremes), max(high for _, high in extremes)


def _numbers(image: Image.Image) -> np.ndarray:
    """The values of a deep image; what is no number is black."""
    values = np.asarray(image)
    return np.where(np.isfinite(values), values, 0)


def _from_deep(image: Image.Image, low: float, high: float) -> Image.Image:
    """Whole numbers or fractions on a scale that their lowest and highest tell, as RGB."""
    values = _numbers(image).astype(np.float64)
    if low < 0 or high > 65_535:
        gray = (values - low) * (255 / ((high - low) or 1))
    elif high > 255:
        gray = values // 256
    else:
        gray = values * 255 if high <= 1 else values
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        gray = np.where(values == transparent, 255, gray)  # white paper
    return Image.fromarray(np.round(gray).astype(np.uint8)).convert("RGB")


def _from_array(array: np.ndarray) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise InputError(f"an array image is (H, W), (H, W, 3) or (H, W, 4), not {array.shape}")
    if array.dtype.kind not in "buif":
        raise InputError(f"an array image holds numbers, not {array.dtype}")
    if not array.size:
        raise InputError(f"an image of shape {array.shape} has no pixels")
    if array.dtype == bool:
        array = array.astype(np.float32)
    low, high = array.min(), array.max()
    fractions = np.issubdtype(array.dtype, np.floating)
    most = 1 if fractions else 255
    if not (low >= 0 and high <= most):
        raise InputError(
            f"the image's values run from {low:g} to {high:g}; give whole numbers 0 … 255 or "
            "fractions 0 … 1, not normalised (the tagger does that itself)"
        )
    pixels = np.round(array * 255) if fractions else array
    return _upright_rgb(Image.fromarray(pixels.astype(np.uint8)))


def as_images(values: Any) -> list[Any]:
    """One image, or a batch of them, as a list of what ``as_image`` takes.

    A batch is a list (or any iterable) of images, a tensor (B, 3, H, W) or an array
    (B, H, W, 3).
    """
    if isinstance(values, Tensor | np.ndarray):
        return list(values) if values.ndim == 4 else [values]
    if isinstance(values, str | os.PathLike | Image.Image):
        return [values]
    try:
        return list(values)
    except TypeError:
        raise InputError(
            f"images are paths, PIL images, arrays or tensors, not a {type(values).__name__}"
        ) from None
