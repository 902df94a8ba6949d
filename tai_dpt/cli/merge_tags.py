"""``tai-dpt merge-tags``: the parts that ``tag --shard`` wrote, as the file of one run."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import click
from pydantic import Field

from tai_dpt.cli.command import command
from tai_dpt.errors import InputError, first_few
from tai_dpt.io.atomic import atomic_write
from tai_dpt.io.console import answer, shown
from tai_dpt.io.image_files import Shard
from tai_dpt.io.lock import Lock, open_lock, try_lock
from tai_dpt.io.output import check_output
from tai_dpt.io.reading import OpenRecord, checked, parse_json, read_json
from tai_dpt.io.spreadsheets import as_given
from tai_dpt.tags.lines import CSV_HEADER
from tai_dpt.tags.sinks import maker_of, part_of
from tai_dpt.tags.whole_files import WHOLE, coco_classes

_OF_A_PART = ("--shard", "images")  # in what made a part, beside what made the whole
_ANEW = "tag this part anew"


class _MadeBy(OpenRecord):
    """What is read of what made a part."""

    shard: str = Field(alias="--shard")
    format: Literal["csv", "jsonl", "parquet", "coco"] = Field(alias="--format")


@command()
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--overwrite", is_flag=True, help="Replace OUT where it is there.")
def merge_tags(out: Path, overwrite: bool) -> dict[str, Any]:
    """Join the parts of OUT that 'tag --out OUT --shard I/N' wrote.

    \b
    Example:
      tai-dpt merge-tags tags.csv     # of tags-0-of-4.csv … tags-3-of-4.csv

    All parts must be there, finished, of the same images, tagger and options. The parts
    stay; OUT is what one run would have written (but for a score's last digit, which
    depends on the batch), and 'tag --resume' goes on with it.
    """
    parts = _parts(out)
    out = check_output(out, overwrite=overwrite, inputs=parts, option="OUT")
    with ExitStack() as stack:
        made_by = _made_by(parts)
        for path in parts:
            _hold(path, stack)
        images = _count(parts, made_by["--format"])
        lock = _hold(out, stack)
        with atomic_write(out) as stream:
            _write(parts, made_by["--format"], stream)
        lock.truncate(0)
        lock.write(json.dumps(made_by).encode())
    answer(f"{out}: {images:,} images of {len(parts)} parts")
    return {"written": out, "images": images, "parts": len(parts)}


def _parts(out: Path) -> list[Path]:
    """The files of all parts, in order."""
    name = re.compile(rf"{re.escape(out.stem)}-\d+-of-(\d+){re.escape(out.suffix)}(\.part)?")
    there = out.parent.iterdir() if out.parent.is_dir() else ()
    counts = {int(found[1]) for path in there if (found := name.fullmatch(path.name))}
    if len(counts) != 1:
        problem = f"parts of {' and of '.join(map(str, sorted(counts)))}" if counts else "no parts"
        first = part_of(out, Shard(0, max(counts, default=4)))
        raise InputError(f"{out}: there are {problem}; wanted are all of one such as {first.name}")
    (count,) = counts
    parts = [part_of(out, Shard(number, count)) for number in range(count)]
    if missing := [path.name for path in parts if not path.is_file()]:
        raise InputError(
            f"{len(missing)} of {count} parts are not finished: {first_few(missing)}; run 'tag "
            "--resume' with their --shard"
        )
    return parts


def _hold(path: Path, stack: ExitStack) -> Any:
    """The open file that is locked while ``path`` is written."""
    stream = stack.enter_context(open_lock(maker_of(path)))
    if try_lock(stream) is Lock.TAKEN:
        raise InputError(f"another process is writing {path}: wait for it")
    return stream


def _made_by(parts: Sequence[Path]) -> dict[str, Any]:
    """What made the whole; complains of parts that differ in it."""
    first: dict[str, Any] = {}
    for number, path in enumerate(parts):
        if not maker_of(path).is_file() or not maker_of(path).stat().st_size:
            raise InputError(f"{path}: {maker_of(path).name} beside it is gone; {_ANEW}")
        made_by = _read_maker(path, f"{number}/{len(parts)}")
        first = first or made_by
        if made_by != first:
            differs = next(name for name in made_by if made_by[name] != first.get(name))
            what = {"tagger.json": "the tagger", "images": "the images"}.get(differs, differs)
            raise InputError(f"{path} and {parts[0].name} differ in {what}: tag one of them anew")
    return {name: value for name, value in first.items() if name not in _OF_A_PART}


def _read_maker(path: Path, shard: str) -> dict[str, Any]:
    """What made a part, beside that it is this one."""
    made_by: dict[str, Any] = read_json(maker_of(path), remedy=_ANEW)
    checked(_MadeBy, made_by, where=str(maker_of(path)), remedy=_ANEW)
    if (there := made_by.pop("--shard")) != shard:
        raise InputError(f"{path} was written as part {there}, not {shard}; {_ANEW}")
    return made_by


def _count(parts: Sequence[Path], format_: str) -> int:
    """The images; complains of one that is in two parts."""
    part_with: dict[str, Path] = {}
    for path in parts:
        for image in _images(path, format_):
            if part_with.setdefault(image, path) != path:
                raise InputError(
                    f"{shown(image)} is in {part_with[image].name} and in {path.name}: they are of "
                    "different runs"
                )
    return len(part_with)


def _images(path: Path, format_: str) -> Iterator[str]:
    if format_ in WHOLE:
        yield from (record["image"] for record in WHOLE[format_].read(path))
        return
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
        rows = csv.reader(stream) if format_ == "csv" else stream
        for number, row in enumerate(_rows(rows, path), 1):
            where = f"{path}, line {number}"
            if isinstance(row, str):
                record = parse_json(row, where=where, half_characters=True)
                image = record.get("image") if isinstance(record, dict) else None
            else:
                image = as_given(row[0]) if len(row) == len(CSV_HEADER) else None
            if not isinstance(image, str):
                raise InputError(f"{where}: not a line of tags; {_ANEW}")
            if tuple(row) != CSV_HEADER:
                yield image


def _rows(rows: Iterator[Any], path: Path) -> Iterator[Any]:
    try:
        yield from rows
    except csv.Error as error:
        raise InputError(f"{path}: not valid CSV: {error}; {_ANEW}") from None


def _write(parts: Sequence[Path], format_: str, stream: Any) -> None:
    if format_ in WHOLE:
        classes = coco_classes(parts[0]) if format_ == "coco" else ()
        WHOLE[format_].write(
            lambda: chain.from_iterable(map(WHOLE[format_].read, parts)), stream, classes
        )
        return
    for number, path in enumerate(parts):
        with path.open("rb") as source:
            if number and format_ == "csv":
                source.readline()  # the header
            shutil.copyfileobj(source, stream)
