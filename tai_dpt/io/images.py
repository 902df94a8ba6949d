"""Images of any kind, in files or in memory, as upright RGB: the one reader there is."""

from __future__ import annotations

import os
import stat
import warnings
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from tai_dpt.errors import InputError
from tai_dpt.io.image_formats import readable_formats

#: what ``as_image`` takes for one image
AnyImage = str | os.PathLike[str] | Image.Image | np.ndarray | Tensor

#: raise it when the same file comes out as other pixels: what was computed from them is stale
READING = 1
# A JPEG of more pixels than this is decoded at half size or less: it is shrunk anyway.
_DRAFT_PIXELS = 50_000_000


def as_image(value: AnyImage) -> Image.Image:
    """One image in any form as RGB.

    Args:
        value: a path; a PIL image; an array (H, W), (H, W, 3) or (H, W, 4); a tensor (3, H, W).
            Arrays and tensors hold whole numbers 0 … 255 or fractions 0 … 1.

    Raises:
        InputError: the file cannot be read, or the values are no image.
    """
    if isinstance(value, str | os.PathLike):
        return read_image(value)
    if isinstance(value, Image.Image):
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


def read_image(path: str | os.PathLike[str], *, glance: bool = False) -> Image.Image:
    """An image file as RGB, upright (EXIF), the first frame of an animation.

    Args:
        glance: decode a JPEG at an eighth of its size, only to find out whether it can be read.

    Raises:
        InputError: the file cannot be read as an image, with its name and the reason.
    """
    try:
        if not stat.S_ISREG(mode := os.stat(path).st_mode) and not stat.S_ISDIR(mode):
            raise InputError(f"{os.fspath(path)}: a pipe or a device, not an image file")
        with warnings.catch_warnings():
            # Pillow warns of large images; one that is too large is an error all the same
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=readable_formats()) as image:
                if glance:
                    image.draft("RGB", (1, 1))
                elif image.width * image.height > _DRAFT_PIXELS:
                    image.draft("RGB", (image.width // 2, image.height // 2))
                return _upright_rgb(image)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{os.fspath(path)}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{os.fspath(path)}: a folder, not an image") from None
    except Exception as error:  # Pillow's readers raise all sorts on a damaged file
        reason = str(error).replace(f" {os.fspath(path)!r}", "") or type(error).__name__
        raise InputError(f"{os.fspath(path)}: cannot be read as an image ({reason})") from None


def _upright_rgb(image: Image.Image) -> Image.Image:
    image = ImageOps.exif_transpose(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        # what is transparent shows white paper, not whatever colour the file hides there
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(paper, image).convert("RGB")
    if image.mode.startswith("I;16"):  # Pillow would cut 16 bits at 255
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")


def _from_array(array: np.ndarray) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise InputError(f"an array image is (H, W), (H, W, 3) or (H, W, 4), not {array.shape}")
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
