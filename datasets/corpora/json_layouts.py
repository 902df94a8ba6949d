"""The layouts in which people keep captions in one JSON document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from tai_dpt.datasets.corpora.records import (
    CAPTION,
    Bad,
    Entries,
    Note,
    Record,
    called,
    from_object,
    record,
    texts_of,
)
from tai_dpt.errors import InputError, shorten
from tai_dpt.io.reading import json_kind, shown_value


def _coco(content: Any, field: str, name: str) -> Entries:
    """COCO's captions_*.json: ``annotations`` of ``{image_id, id, caption}``."""
    if not isinstance(content, dict) or not isinstance(content.get("annotations"), list):
        raise InputError(
            f"{name}: not COCO captions, there is no list 'annotations' (has: {_has(content)})"
        )
    for number, item in enumerate(content["annotations"]):
        yield from from_object(item, field, f"annotation {number}")


def _karpathy(content: Any, field: str, name: str) -> Entries:
    """Karpathy's splits: ``images`` of ``{filename, split, sentences: [{raw}]}``."""
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise InputError(f"{name}: not Karpathy's layout, there is no list 'images'")
    splits: Counter[str] = Counter()
    for number, item in enumerate(content["images"]):
        place = f"image {number}"
        sentences = item.get("sentences") if isinstance(item, dict) else None
        if not isinstance(sentences, list):
            yield Bad(place, "no list 'sentences'")
            continue
        image = item.get("filename", number)
        splits[str(item.get("split", ""))] += 1
        for at, sentence in enumerate(sentences):
            for entry in from_object(sentence, "raw" if field == "caption" else field, place):
                if isinstance(entry, Record):
                    yield Record(entry.caption, str(image))
                else:
                    yield Bad(f"{place}, sentence {at}", entry.reason)
    if len(splits) > 1:
        counted = ", ".join(f"{split or '(none)'} {count:,}" for split, count in splits.items())
        yield Note(f"captions of all its splits are read (images: {counted})")


def _listed(content: Any, field: str, name: str) -> Entries:
    """As BLIP has them: a list of ``{image, caption}`` with one caption or several, or of texts."""
    if not isinstance(content, list):
        raise InputError(f"{name}: not a list of captions but {json_kind(content)}")
    for number, item in enumerate(content):
        place = f"entry {number}"
        if isinstance(item, str):
            yield record(item, None, place)
        else:
            yield from from_object(item, field, place)


def _by_image(content: Any, field: str, name: str) -> Entries:
    """``{image: caption}`` or ``{image: [caption, …]}``."""
    if not isinstance(content, dict):
        raise InputError(f"{name}: not an object of captions by image")
    for image, value in content.items():
        captions = texts_of(value)
        if captions is None:
            yield Bad(f"'{shorten(image)}'", "neither a caption nor a list of captions")
        else:
            for caption in captions:
                yield record(caption, image, f"'{shorten(image)}'")


def _columns(content: Any, field: str, name: str) -> Entries:
    """As SBU has them: ``captions``, a list of texts, beside lists of other things."""
    key = called(field, content) if isinstance(content, dict) else None
    captions = content[key] if key is not None else None
    if not isinstance(captions, list):
        raise InputError(f"{name}: no list of captions called '{field}' (has: {_has(content)})")
    for number, caption in enumerate(captions):
        place = f"caption {number}"
        if isinstance(caption, str):
            yield record(caption, None, place)
        else:
            yield Bad(place, f"{shown_value(caption)} is not text")


#: layout -> reader of a parsed document: (content, field of the caption, file's name)
LAYOUTS: dict[str, Callable[[Any, str, str], Iterator[Record | Bad | Note]]] = {
    "coco": _coco,
    "karpathy": _karpathy,
    "blip": _listed,
    "by_image": _by_image,
    "columns": _columns,
}


def layout_of(content: Any, name: str) -> str:
    """Which of ``LAYOUTS`` a document has.

    Raises:
        InputError: none of them; says what the document has.
    """
    if isinstance(content, list):
        return "blip"
    if isinstance(content, dict):
        if isinstance(content.get("annotations"), list):
            return "coco"
        images = content.get("images")
        if isinstance(images, list) and any(
            isinstance(item, dict) and "sentences" in item for item in images[:1]
        ):
            return "karpathy"
        key = called(CAPTION, content)
        if key is not None and isinstance(content[key], list):
            return "columns"
        values = content.values()
        if any(values) and all(texts_of(value) is not None for value in values):
            return "by_image"
    raise InputError(
        f"{name}: no layout of captions that is known (has: {_has(content)}); known are COCO's "
        "(a list 'annotations'), Karpathy's ('images' with 'sentences'), a list of {image, "
        "caption}, {image: captions}, and a list 'captions'"
    )


def _has(content: Any) -> str:
    if isinstance(content, dict):
        return shorten(", ".join(content), 80) or "nothing"
    return json_kind(content)
