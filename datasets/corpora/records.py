"""What a caption file is made of: captions, bad places, and notes."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from tai_dpt.io.reading import json_kind

#: what a caption is called where nothing is said, and what else people call it, in this order
CAPTION = "caption"
_CAPTIONS = (CAPTION, "captions", "text", "sentence")

_LONGEST = 10_000  # characters; a localized narrative has a few hundred


class Record(NamedTuple):
    """A caption."""

    caption: str
    image: str | None  # the image the caption speaks of, where the file says it


class Bad(NamedTuple):
    """A place where a caption should be and is none."""

    place: str  # "line 7"
    reason: str


class Note(NamedTuple):
    """What a user should know of the file."""

    text: str


Entries = Iterator[Record | Bad | Note]


def from_object(item: Any, field: str, place: str) -> Iterator[Record | Bad]:
    """The captions in ``field`` of a JSON object: a text, or a list of texts."""
    if not isinstance(item, dict):
        yield Bad(place, f"a JSON object is needed, this is {json_kind(item)}")
        return
    key = called(field, item)
    if key is None:
        yield Bad(place, f"no field '{field}'; it has: {', '.join(item) or 'none'}")
        return
    alike = [name for name in item if name.casefold() == key.casefold()]
    if key != field and len(alike) > 1:
        yield Bad(place, f"fields {' and '.join(map(repr, alike))}: name the one with the caption")
        return
    captions = texts_of(item[key])
    if captions is None:
        yield Bad(place, f"field '{key}' is {json.dumps(item[key])[:40]}, not text")
        return
    image = item.get("image_id", item.get("image"))
    for caption in captions:
        yield record(caption, None if image is None else str(image), place)


def called(field: str, names: Collection[str]) -> str | None:
    """The name in ``names`` that ``field`` means: itself, or in other case; None where none does.

    >>> called("caption", ["Image", "Caption"]), called("caption", ["text"]), called("raw", ["x"])
    ('Caption', 'text', None)
    """
    if field in names:
        return field
    folded = {name.casefold(): name for name in names}
    wanted = _CAPTIONS if field == CAPTION else (field.casefold(),)
    return next((folded[name] for name in wanted if name in folded), None)


def texts_of(value: Any) -> list[str] | None:
    """A text or a list of texts as a list; None for anything else."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and all(isinstance(text, str) for text in value):
        return value
    return None


def record(caption: str, image: str | None, place: str) -> Record | Bad:
    """A caption, unless its text is none that can be."""
    if len(caption) > _LONGEST:
        return Bad(place, f"{len(caption):,} characters, more than {_LONGEST:,}: no caption")
    if "\0" in caption:
        return Bad(place, "not text, it has zero bytes")
    try:
        caption.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(caption[error.start]):04x}"
        return Bad(place, f"{half} is half a character: the text was cut or escaped wrongly")
    return Record(caption, image)
