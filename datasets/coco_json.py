"""COCO's instances format as people's tools write it: read where its meaning is plain.

Ids are compared as text, so that 1 and "1" are one; a missing file name is taken off the image's
URL. What cannot be read is named with its entry, and with what the file seems to be instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from tai_dpt.errors import InputError, first_few
from tai_dpt.io.reading import json_kind, read_json, shown_value

_PARTS = ("images", "annotations", "categories")
# what stands in a file beside, or in place of, what an instances file has
_ORIGINS = {
    "segments_info": "a COCO panoptic file has these entries: give the instances file",
    "caption": "a COCO captions file has these entries: it belongs in DATASET.CORPUS.FILES, and "
    "here the instances file",
    **{
        mark: f"{tool} wrote it: export in COCO's format there"
        for mark, tool in (
            ("_via_img_metadata", "VIA"),
            ("regions", "VIA"),
            ("shapes", "LabelMe"),
            ("data", "Label Studio"),
            ("items", "Datumaro"),
        )
    },
    "score": "these are predictions: give the file with the labels",
}


class CocoImage(NamedTuple):
    """An image that the file lists."""

    id: str
    file_name: str
    absent: frozenset[str] | None  # LVIS: categories looked for in vain; None: all the others


class CocoObject(NamedTuple):
    """An annotated object, or a crowd of them."""

    image_id: str
    category_id: str
    crowd: bool
    tiny: bool  # its box is less than a pixel wide or high


@dataclass(frozen=True)
class CocoFile:
    """An instances file."""

    path: Path
    images: tuple[CocoImage, ...]
    objects: tuple[CocoObject, ...]
    categories: Mapping[str, str]  # name by id, in the file's order; those that name something


class _Entry(NamedTuple):
    """An entry of a part of the file, and where it stands: for messages."""

    path: Path
    part: str
    number: int
    values: dict[str, Any]

    def id(self, key: str) -> str:
        """An id, or a text that may be written as a number, without the blanks around it."""
        value = self.values.get(key)
        if type(value) is int:  # as in nearly all files: there are hundreds of thousands
            return str(value)
        if key not in self.values:
            raise self.bad(f"has no '{key}'{_origin(self.values)}")
        return self.as_id(key, value)

    def as_id(self, key: str, value: Any) -> str:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int | str) or not str(value).strip():
            raise self.bad(f"{key} is {shown_value(value)}, not a number or a text")
        return str(value).strip()

    def bad(self, reason: str) -> InputError:
        key = self.values.get("id")
        named = f" (id {key})" if isinstance(key, int | str) else ""
        return InputError(f"{self.path}: {self.part}[{self.number}]{named}: {reason}")


def read_coco(path: Path) -> CocoFile:
    """Read an instances file and check that it is one.

    A category that no object has and that only stands above others, as in Roboflow's files, is
    left out. In a file of LVIS an image's absent categories are those that it says were looked
    for; what was not looked for is unknown.

    Raises:
        InputError: not JSON, or not COCO's instances format; with the entry, and with what it
            seems to be.
    """
    content = read_json(path, remedy="is the file whole?")
    if not isinstance(content, dict):
        first = content[0] if isinstance(content, list) and content else None
        raise InputError(
            f"{path}: COCO's format is a JSON object, this is {json_kind(content)}{_origin(first)}"
        )
    parts = {name: _entries(path, content, name) for name in _PARTS}
    names: dict[str, str] = {}
    above = set()
    for entry in parts["categories"]:
        key, name = entry.id("id"), entry.id("name")
        if names.setdefault(key, name) != name:
            raise entry.bad(f"named '{name}' here and '{names[key]}' above")
        supercategory = str(entry.values.get("supercategory")).strip()
        if supercategory != name:  # COCO's person is a person
            above.add(supercategory)
    images: dict[str, CocoImage] = {}
    for entry in parts["images"]:
        image = _image(entry)
        if images.setdefault(image.id, image) is not image:
            raise entry.bad(f"image id {image.id} is listed twice")
    objects = []
    for entry in parts["annotations"]:
        found = _object(entry)
        if found.image_id not in images or found.category_id not in names:
            kind = "category" if found.image_id in images else "image"
            raise entry.bad(
                f"it speaks of image {found.image_id}, category {found.category_id}, and there is "
                f"no such {kind} in the file"
            )
        objects.append(found)
    used = {found.category_id for found in objects}
    named = {key: name for key, name in names.items() if key in used or name not in above}
    return CocoFile(path, tuple(images.values()), tuple(objects), named)


def _entries(path: Path, content: dict[str, Any], part: str) -> list[_Entry]:
    """The entries of a part; ``null`` is what some tools write where there are none."""
    if part not in content:
        annotations = content.get("annotations")
        first = annotations[0] if isinstance(annotations, list) and annotations else None
        one = next(iter(content.values()), None)  # VIA's images by name
        origin = _origin(first) or _origin(content) or _origin(one)
        raise InputError(
            f"{path}: not a COCO instances file, it lacks '{part}' "
            f"(it has: {first_few(list(content), 8) or 'nothing'}){origin}"
        )
    entries = content[part]
    if entries is None and part == "annotations":
        return []
    if not isinstance(entries, list):
        raise InputError(f"{path}: '{part}' is {shown_value(entries)}, not a list")
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise InputError(
                f"{path}: {part}[{number}] is {shown_value(entry)}, not an object in braces"
            )
    return [_Entry(path, part, number, entry) for number, entry in enumerate(entries)]


def _image(entry: _Entry) -> CocoImage:
    key, url = entry.id("id"), entry.values.get("coco_url")
    if entry.values.get("file_name") is not None:
        name = entry.id("file_name")
    elif isinstance(url, str) and urlsplit(url).path.strip("/"):
        name = PurePosixPath(unquote(urlsplit(url).path)).name  # LVIS has nothing else
    else:
        raise entry.bad("has no 'file_name', and no 'coco_url' in its place as in LVIS")
    absent = entry.values.get("neg_category_ids")
    if absent is None:
        return CocoImage(key, name, None)
    if not isinstance(absent, list):
        raise entry.bad(f"neg_category_ids is {shown_value(absent)}, not a list")
    return CocoImage(key, name, frozenset(entry.as_id("neg_category_ids", i) for i in absent))


def _object(entry: _Entry) -> CocoObject:
    box = entry.values.get("bbox")
    sides = box[2:4] if isinstance(box, list) else ()
    for side in sides:
        if not isinstance(side, int | float):
            raise entry.bad(f"bbox is {shown_value(box)}, not four numbers")
    return CocoObject(
        entry.id("image_id"),
        entry.id("category_id"),
        crowd=entry.values.get("iscrowd") in (1, "1", "true", "True"),  # true is 1 too
        tiny=any(side < 1 for side in sides),
    )


def _origin(entry: Any) -> str:
    """What an entry says of the file it comes from, for the end of a message."""
    hints = (hint for mark, hint in _ORIGINS.items() if isinstance(entry, dict) and mark in entry)
    return "".join(f"; {hint}" for hint in islice(hints, 1))
