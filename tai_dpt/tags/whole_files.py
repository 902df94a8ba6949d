"""Tags in files that are written as a whole: Parquet, and COCO's JSON."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from pydantic import Field

from tai_dpt.errors import InputError
from tai_dpt.io.console import as_text
from tai_dpt.io.parquet import pyarrow
from tai_dpt.io.reading import Count, Finite, OpenRecord, checked, read_json

Records = Callable[[], Iterable[dict[str, Any]]]  # the images, as often as they are asked for

_ROWS = 50_000  # of Parquet that are held at once


class Whole(NamedTuple):
    """How a format is written, and read back to be gone on with."""

    write: Callable[[Records, IO[bytes], Sequence[str]], None]
    read: Callable[[Path], Iterable[dict[str, Any]]]


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The images that lines of JSON speak of, without those that could not be read."""
    with path.open(encoding="utf-8", newline="\n") as stream:
        for line in stream:
            record: dict[str, Any] = json.loads(line)
            if "labels" in record:
                yield record


def check_packages(format_: str) -> None:
    """Complain, before any work, of a package that a format needs."""
    if format_ == "parquet":
        pyarrow()


# -- Parquet: a row a tag, and an empty one for an image without any -------------------------------


_COLUMNS = {"image": "string", "class": "string", "probability": "float32", "score": "float32"}


def _write_parquet(records: Records, stream: IO[bytes], _: Sequence[str]) -> None:
    pa = pyarrow()
    schema = pa.schema([(name, getattr(pa, kind)()) for name, kind in _COLUMNS.items()])
    rows = (
        {"image": as_text(record["image"]), **label}
        for record in records()
        for label in record["labels"] or [{}]
    )
    with pyarrow("pyarrow.parquet").ParquetWriter(stream, schema) as writer:
        while some := list(itertools.islice(rows, _ROWS)):
            writer.write_table(pa.Table.from_pylist(some, schema=schema))


def _read_parquet(path: Path) -> Iterator[dict[str, Any]]:
    try:
        table = pyarrow("pyarrow.parquet").read_table(path)
        rows = table.select(list(_COLUMNS)).to_pylist()
        if any(
            table.schema.field(n).type != pyarrow().type_for_alias(k) for n, k in _COLUMNS.items()
        ):
            raise ValueError("its columns have other types")
    except (OSError, ValueError, KeyError) as error:  # pyarrow's own are ValueErrors
        problem = str(error).splitlines()[0]
        raise InputError(f"{path} is no Parquet file of tags ({problem}); start afresh") from None
    for image, tags in itertools.groupby(rows, key=lambda row: row.pop("image")):
        yield {"image": image, "labels": [tag for tag in tags if tag["class"] is not None]}


# -- COCO: a tag has no place, so its box is the whole image ---------------------------------------


class _Annotation(OpenRecord):
    image_id: int
    category_id: int
    score: Finite


class _Image(OpenRecord):
    id: int
    file_name: str
    width: Count
    height: Count


class _Category(OpenRecord):
    id: int
    name: str


class _Coco(OpenRecord):
    images: tuple[_Image, ...]
    annotations: tuple[_Annotation, ...]
    categories: tuple[_Category, ...] = Field(min_length=1)


def _write_coco(records: Records, stream: IO[bytes], classes: Sequence[str]) -> None:
    column = {name: number for number, name in enumerate(classes, 1)}
    categories = [{"id": number, "name": name} for name, number in column.items()]
    about = {"description": "tags of tai-dpt; a box is its whole image"}
    images = (
        {
            "id": number,
            "file_name": as_text(record["image"]),
            "width": record["width"],
            "height": record["height"],
        }
        for number, record in enumerate(records(), 1)
    )
    tags = (
        {
            "image_id": number,
            "category_id": column[label["class"]],
            "bbox": [0, 0, record["width"], record["height"]],
            "area": record["width"] * record["height"],
            "iscrowd": 0,
            "score": label["score"] if label["probability"] is None else label["probability"],
        }
        for number, record in enumerate(records(), 1)
        for label in record["labels"]
    )
    annotations = ({"id": number, **tag} for number, tag in enumerate(tags, 1))
    stream.write(f'{{"info": {json.dumps(about)}, "categories": {json.dumps(categories)}'.encode())
    for name, entries in (("images", images), ("annotations", annotations)):
        stream.write(f',\n"{name}": ['.encode())
        for number, entry in enumerate(entries):
            stream.write(f"{',' if number else ''}\n{json.dumps(entry)}".encode())
        stream.write(b"]")
    stream.write(b"}\n")


def _coco(path: Path) -> _Coco:
    return checked(_Coco, read_json(path), where=f"{path}: no COCO file of tags")


def coco_classes(path: Path) -> list[str]:
    """The classes that a file can speak of."""
    return [category.name for category in _coco(path).categories]


def _read_coco(path: Path) -> Iterator[dict[str, Any]]:
    content = _coco(path)
    names = {category.id: category.name for category in content.categories}
    labels: dict[int, list[dict[str, Any]]] = {}
    for tag in content.annotations:
        if tag.category_id not in names:
            raise InputError(f"{path}: no category has the id {tag.category_id}; start afresh")
        said = {"class": names[tag.category_id], "probability": tag.score, "score": tag.score}
        labels.setdefault(tag.image_id, []).append(said)
    for image in content.images:
        size = {"width": image.width, "height": image.height}
        yield {"image": image.file_name, "labels": labels.get(image.id, []), **size}


WHOLE = {"parquet": Whole(_write_parquet, _read_parquet), "coco": Whole(_write_coco, _read_coco)}
