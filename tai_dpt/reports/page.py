"""Pages that open from disk: one file, no network. Their HTML and CSS are in ``templates/``."""

from __future__ import annotations

import base64
import functools
import io
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image


@dataclass(frozen=True)
class Embedded:
    """An image that the page itself contains."""

    source: str  # a data: address
    alt: str
    width: int
    height: int


def render(template: str, **values: Any) -> str:
    """A page from ``templates/``; every value is plain text and escaped."""
    # a name may hold a \r, which a browser takes for a \n
    return _templates().get_template(template).render(**values).replace("\r", "&#13;")


def embedded(image: Image.Image, alt: str, *, quality: int = 85) -> Embedded:
    """``image`` as the macro ``picture`` takes it."""
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=quality)
    data = base64.b64encode(stream.getvalue()).decode()
    return Embedded(f"data:image/webp;base64,{data}", alt, image.width, image.height)


@functools.cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("tai_dpt.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
