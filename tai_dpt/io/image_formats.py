"""The image formats that can be read here: Pillow's own, and those of its plug-ins."""

from __future__ import annotations

import functools
import importlib
from contextlib import suppress

from PIL import Image

# Pillow knows them by their first bytes, and reads none: data and films; or it starts another
# program to draw them (Ghostscript), or reads them on one system only.
_NOT_IMAGES = {"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"}


@functools.cache
def readable_formats() -> tuple[str, ...]:
    """The names of all formats that an image file may have."""
    Image.init()
    with suppress(ImportError):
        importlib.import_module("pillow_heif").register_heif_opener()
    with suppress(ImportError):
        importlib.import_module("pillow_jxl")  # registers itself
    return tuple(name for name in Image.OPEN if name not in _NOT_IMAGES)


@functools.cache
def image_endings() -> frozenset[str]:
    """What the names of image files end with: ``.jpg`` and so on, in lower case."""
    formats = {*readable_formats(), "MPO"}  # a JPEG of several images, read by JPEG's reader
    return frozenset(
        ending for ending, name in Image.registered_extensions().items() if name in formats
    )
