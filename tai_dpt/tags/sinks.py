"""Where tags go: stdout, a file that gets its name when it is whole, or a sidecar an image."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, TextIO

import click

from tai_dpt.errors import InputError, Stopped
from tai_dpt.io.atomic import atomic_write, naming, open_named
from tai_dpt.io.image_files import Shard
from tai_dpt.io.images import upright_size
from tai_dpt.io.json_text import json_text
from tai_dpt.io.lock import Lock, open_lock, try_lock
from tai_dpt.io.reading import checked, read_json
from tai_dpt.io.xmp import sidecar_of, xmp
from tai_dpt.tags.lines import (
    Tag,
    header,
    held_images,
    lines_for,
    lines_for_error,
    record,
)
from tai_dpt.tags.whole_files import WHOLE, read_lines


class FileSink:
    """stdout, or a ``.part`` file of lines that becomes ``out`` when all are there.

    A hidden file beside it says what made it, so that nothing else is added to it later, and is
    locked while it is written. Parquet and COCO are lines of JSON until then.
    """

    def __init__(
        self,
        out: Path | None,
        format_: str,
        made_by: dict[str, Any],
        *,
        classes: Sequence[str],
        resume: bool,
        overwrite: bool,
        width: int,
    ) -> None:
        """
        Args:
            classes: all that the tagger knows.
            width: of the first column of a table.
        """
        self.out, self.format, self.classes, self.width = out, format_, classes, width
        self.lines = "jsonl" if format_ in WHOLE else format_
        self.interrupted = False  # whether what is there is a part of one run
        self.done: set[str] = set()
        self.unreadable: set[str] = set()  # tried again; what is there says so already
        self.mended: set[str] = set()  # those of them that could be read now
        if out is None:
            return
        self.part = out.with_name(f"{out.name}.part")
        out.parent.mkdir(parents=True, exist_ok=True)
        maker = maker_of(out)
        self.lock = open_lock(maker)
        try:
            if try_lock(self.lock) is Lock.TAKEN:
                raise InputError(
                    f"another process is writing {out}: wait for it, or choose another --out"
                )
            if resume and not overwrite and (out.exists() or self.part.exists()):
                _check_maker(maker, made_by, out)
            self._find_done(out, resume, overwrite)
        except BaseException:
            self.lock.close()
            if not maker.stat().st_size:
                maker.unlink()
            raise
        with naming(maker):
            self.lock.truncate(0)
            self.lock.write(json.dumps(made_by).encode())
            self.lock.flush()

    def _find_done(self, out: Path, resume: bool, overwrite: bool) -> None:
        """Find what is done already; complain of what must not be replaced."""
        if out.exists() and not (resume or overwrite):
            raise InputError(f"{out} exists; add --resume to go on with it, or --overwrite")
        if resume and self.part.exists():
            self.interrupted = True
            self._hold(self.part)
        elif resume and out.exists():
            if self.format in WHOLE:
                if not os.fstat(self.lock.fileno()).st_size:
                    raise InputError(
                        f"{out} was not written by tag ({Path(self.lock.name).name} is missing): "
                        "choose another --out, or add --overwrite to start anew"
                    )
                with atomic_write(self.part, "w", encoding="utf-8") as stream:
                    stream.writelines(f"{json_text(r)}\n" for r in WHOLE[self.format].read(out))
                self._hold(self.part)
            else:
                self._hold(out)
                os.replace(out, self.part)
        elif self.part.exists() and not overwrite:
            raise InputError(
                f"{self.part} is what an interrupted run left; add --resume to go on with it, or "
                "--overwrite"
            )
        elif overwrite:
            self.part.unlink(missing_ok=True)

    def _hold(self, path: Path) -> None:
        self.done, self.unreadable = held_images(path, self.lines)
        self.mended = self.unreadable & self.done

    def __enter__(self) -> FileSink:
        self.stream: TextIO = sys.stdout
        if self.out is not None:
            self.stream = open_named(
                self.part, "a", encoding="utf-8", errors="surrogateescape", newline=""
            )
        if self.out is None or self.stream.tell() == 0:
            self.stream.write(header(self.lines))
        return self

    def put(self, image: str, tags: list[Tag] | None, error: str | None) -> None:
        """What is said of one image: its tags, or why it cannot be read."""
        if tags is None:
            if image not in self.unreadable:
                self.stream.write(lines_for_error(self.lines, image, error or ""))
            return
        if image in self.unreadable:
            self.mended.add(image)
        if self.format == "coco":
            size = dict(zip(("width", "height"), upright_size(image), strict=True))
            self.stream.write(f"{json_text(record(image, tags) | size)}\n")
        else:
            self.stream.write(lines_for(self.lines, image, tags, width=self.width))

    def flush(self) -> None:
        """Let what was put be seen."""
        self.stream.flush()

    def __exit__(self, kind: Any, error: Any, _: object) -> None:
        if self.out is None:
            return
        with self.lock:
            with nullcontext() if kind is None else suppress(OSError):
                self.stream.close()
            if kind is None:
                self._finish(self.out)
                return
        hint = f"the same command with --resume goes on with {self.part}"
        if self.lines == "table":
            hint = f"{self.part} cannot be gone on with, as a table: add --overwrite, or take csv"
        if isinstance(error, Stopped):
            error.hint = hint
        else:
            click.echo(f"cut short; {hint}", err=True)

    def _finish(self, out: Path) -> None:
        if self.mended and self.format not in WHOLE:
            self._without_mended_errors()
        if self.format not in WHOLE:
            os.replace(self.part, out)
            return
        with atomic_write(out) as stream:
            WHOLE[self.format].write(lambda: read_lines(self.part), stream, self.classes)
        self.part.unlink()

    def _without_mended_errors(self) -> None:
        with (
            self.part.open(encoding="utf-8", newline="\n") as lines,
            atomic_write(self.part, "w", encoding="utf-8", newline="") as stream,
        ):
            for line in lines:
                record = json.loads(line)
                if "labels" in record or record["image"] not in self.mended:
                    stream.write(line)


class Sidecars:
    """A file of XMP beside each image; one that is there is never touched."""

    def __init__(self, images: Sequence[str], *, by_stem: bool) -> None:
        self.by_stem = by_stem
        paths = {image: sidecar_of(image, by_stem=by_stem) for image in images}
        taken: dict[str, str] = {}
        for image, path in paths.items():
            if path in taken:
                raise InputError(
                    f"{taken[path]} and {image} would share the sidecar {path}: tag them apart, or "
                    "take --xmp-name full"
                )
            taken[path] = image
        self.done = {image for image, path in paths.items() if os.path.lexists(path)}
        self.written = 0

    def __enter__(self) -> Sidecars:
        return self

    def put(self, image: str, tags: list[Tag] | None, _: str | None) -> None:
        """Write an image's sidecar; none where there is nothing to say."""
        if not tags:
            return
        path = sidecar_of(image, by_stem=self.by_stem)
        try:
            with open(path, "xb") as stream:  # in one piece
                stream.write(xmp([tag.name for tag in tags]))
        except FileExistsError:
            return  # of another program, meanwhile
        except BaseException:
            Path(path).unlink(missing_ok=True)
            raise
        self.written += 1

    def flush(self) -> None:
        """Each sidecar is whole as it is."""

    def __exit__(self, kind: Any, error: Any, _: object) -> None:
        if isinstance(error, Stopped):
            error.hint = "the same command goes on with the images that have no sidecar"


def part_of(out: Path, shard: Shard) -> Path:
    """The file of one part of ``out``: ``tags-0-of-4.csv`` of ``tags.csv``."""
    return out.with_name(f"{out.stem}-{shard.number}-of-{shard.count}{out.suffix}")


def maker_of(out: Path) -> Path:
    """The file that says what made ``out``, and is locked while that is written."""
    return out.with_name(f".{out.name}.made-by.json")


def _check_maker(maker: Path, made_by: dict[str, Any], out: Path) -> None:
    """Complain if another tagger or other options wrote what is there."""
    if not maker.stat().st_size:  # version 0.1 left no word
        return
    anew = "add --overwrite to start anew"
    before = checked(dict[str, Any], read_json(maker, remedy=anew), where=str(maker), remedy=anew)
    for name, value in made_by.items():
        there = before.get(name)
        if there != value:
            what = {"tagger.json": "with another tagger", "images": "with other images"}.get(
                name, f"with {name} {there}"
            )
            what = f"without {name}" if there is None and name in before else what
            raise InputError(
                f"{out} was written {what}: --resume goes on with the same only; choose "
                "another --out, or add --overwrite to start anew"
            )
