"""``tai-dpt tag``: the classes in every image of a heap of them."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click
import numpy as np

from tai_dpt.cli.command import Ended, command
from tai_dpt.cli.names import FILE
from tai_dpt.cli.options import rectify_option, tagger_argument, tagger_options, view_option
from tai_dpt.cli.tag_output import (
    FORMATS,
    Tag,
    finished_images,
    header,
    lines_for,
    lines_for_error,
    record,
)
from tai_dpt.errors import InputError, Stopped
from tai_dpt.io.atomic import file_sha256
from tai_dpt.io.console import JSON, asked_for, bar, say, shown
from tai_dpt.io.image_files import find_images
from tai_dpt.io.lock import Lock, try_lock
from tai_dpt.io.output import check_output
from tai_dpt.io.reading import read_json

if TYPE_CHECKING:
    from tai_dpt.scoring.scores import Rectification
    from tai_dpt.tagger.tagger import PromptTagger

SOME_UNREADABLE = 3  # exit code
_WIDEST_NAME = 60
# of --out, and the format each says
_ENDINGS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".txt": "table"}


@command()
@tagger_argument
@click.argument("images", type=FILE, nargs=-1, metavar="IMAGE|FOLDER|PATTERN...")
@click.option(
    "--list",
    "lists",
    multiple=True,
    type=FILE,
    metavar="FILE",
    help="A text file of paths, one a line; - for standard input.",
)
@click.option("--top", type=click.IntRange(1), help="At most so many classes an image.")
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    help="Probability from which on a class counts.  [default: the calibrated one; none with "
    "--top]",
)
@click.option(
    "--format", "format_", type=click.Choice(FORMATS), help="[default: as --out ends, else table]"
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write to: .csv, .jsonl or .txt.",
)
@click.option("--resume", is_flag=True, help="Go on with --out where it was interrupted.")
@click.option("--overwrite", is_flag=True, help="Replace the file --out.")
@view_option("What of an image CLIP sees, this time.  [default: as the tagger has it]")
@rectify_option
@click.option("--batch-size", type=click.IntRange(1), default=64)
@click.option("--workers", type=click.IntRange(0), default=4, help="Threads that read images.")
@tagger_options
def tag(
    tagger: Path,
    images: tuple[str, ...],
    lists: tuple[str, ...],
    top: int | None,
    threshold: float | None,
    format_: str | None,
    out: Path | None,
    resume: bool,
    overwrite: bool,
    view: str | None,
    rectify: Rectification | None,
    batch_size: int,
    workers: int,
    open_tagger: Any,
) -> Ended:
    """Say which classes are in each image, with probabilities.

    \b
    Examples:
      tai-dpt tag my-tagger photo.jpg holiday/ 'scans/*.png'
      tai-dpt tag my-tagger photo.jpg --top 5
      tai-dpt tag my-tagger archive/ --format csv --out tags.csv
      tai-dpt tag my-tagger archive/ --format csv --out tags.csv --resume
      find . -name '*.jpg' | tai-dpt tag my-tagger --list - --format jsonl

    The probabilities are those of the tagger's calibration ('tai-dpt calibrate' improves it).
    CLIP sees the middle square of an image; --view whole shows it all of it, squeezed.
    Scores of another --rectify than the tagger's have no probabilities.
    --format jsonl writes a line an image as it goes, --json one document when all is done.

    Exit codes: 0 done; 3 done, but some images could not be read (listed at the end on
    stderr); 2 wrong input.
    """
    as_json = asked_for(JSON) and out is None  # one document, when all is done
    if as_json and format_ is not None:
        raise InputError(f"--json and --format {format_} contradict each other; --out takes both")
    format_ = format_ or _format_of(out)
    if resume and out is None:
        raise InputError("--resume needs --out, the file to go on with")
    found = find_images(images, lists=lists)
    names = found.paths
    if found.left_aside:
        say(f"left aside: {found.left_aside}")
    if out is not None:
        # whether what is there may go or be gone on with, the sink says
        check_output(out, overwrite=True, inputs=[*names, *lists])
    loaded = open_tagger(tagger, view=view, rectify=rectify)
    if threshold is not None and loaded.calibration is None and rectify is not None:
        raise InputError(
            f"--threshold is a probability, and this tagger has none of scores rectified by "
            f"'{rectify}': calibrate it so first ('tai-dpt calibrate --rectify {rectify}')"
        )
    made_by = {
        "tagger.json": file_sha256(tagger / "tagger.json"),
        **{
            "--top": top,
            "--threshold": threshold,
            "--view": view,
            "--rectify": rectify,
            "--format": format_,
        },
    }
    sink = _Sink(out, format_, made_by, resume=resume, overwrite=overwrite)
    rest = [name for name in names if name not in sink.done]
    if sink.done:
        say(f"{out}: {len(names) - len(rest):,} of {len(names):,} done already")
    if top is None and threshold is None and loaded.calibration is None:
        top = 5
        say("this tagger is not calibrated: the best five by score")
    width = min(max((len(shown(name)) for name in names), default=0), _WIDEST_NAME)
    errors: dict[str, str] = {}
    records: list[dict[str, Any]] = []
    progress = bar(desc="tagging", unit=" images", total=len(rest))
    with sink as stream, progress:
        for batch in loaded.stream(rest, batch_size=batch_size, workers=workers):
            tags = dict(_tags(loaded, batch, top, threshold))
            errors |= {rest[index]: error for index, error in batch.errors.items()}
            for index in sorted({*tags, *batch.errors}):
                name, error = rest[index], batch.errors.get(index)
                if as_json:
                    records.append(record(name, tags.get(index), error))
                elif error is not None:
                    stream.write(lines_for_error(format_, name, error))
                else:
                    stream.write(lines_for(format_, name, tags[index], width=width))
            stream.flush()
            progress.update(len(tags) + len(batch.errors))
    if errors:
        word = "image" if len(errors) == 1 else "images"
        click.echo(f"{len(errors):,} {word} could not be read:", err=True)
        for error in errors.values():
            click.echo(f"  {shown(error)}", err=True)
    if out is not None:
        say(f"{out}: {len(names) - len(errors):,} images")
    facts = {"written": out, "images": len(names) - len(errors), "unreadable": errors}
    return Ended(records if out is None else facts, SOME_UNREADABLE if errors else 0)


def _tags(
    tagger: PromptTagger, batch: Any, top: int | None, threshold: float | None
) -> Iterator[tuple[int, list[Tag]]]:
    """Index and tags of each image of a batch that could be read."""
    scores = batch.scores.merged.numpy()
    decided = tagger.decide(scores, threshold=threshold, top=top)
    calibrated = tagger.calibration is not None
    values = tagger.ranking(scores)
    order = np.argsort(-values, axis=1, kind="stable")
    for row, index in enumerate(batch.indices):
        yield (
            index,
            [
                Tag(
                    str(tagger.classes_[c]),
                    float(values[row, c]) if calibrated else None,
                    float(scores[row, c]),
                )
                for c in order[row]
                if decided[row, c]
            ],
        )


def _format_of(out: Path | None) -> str:
    """The format that a file's ending says.

    Raises:
        InputError: it says none, as .xlsx does.
    """
    if out is None:
        return "table"
    if out.suffix.lower() not in _ENDINGS:
        known = ", ".join(_ENDINGS)
        raise InputError(
            f"--out {out}: the ending says no format that can be written; take one of {known}, or "
            f"add --format {'|'.join(FORMATS)}"
        )
    return _ENDINGS[out.suffix.lower()]


def _check_maker(maker: Path, made_by: dict[str, Any], out: Path) -> None:
    """Complain if another tagger or other options wrote what is there."""
    if not maker.stat().st_size:  # version 0.1 left no word
        return
    before = read_json(maker, remedy="add --overwrite to start anew")
    for name, value in made_by.items():
        there = before.get(name) if isinstance(before, dict) else None
        if there != value:
            what = "another tagger" if name == "tagger.json" else f"{name} {there}"
            raise InputError(
                f"{out} was written with {what}: --resume goes on with the same only; choose "
                "another --out, or add --overwrite to start anew"
            )


class _Sink(contextlib.AbstractContextManager[TextIO]):
    """Where the lines go: stdout, or a ``.part`` file that gets its name when it is whole.

    A hidden file beside it says what made it, so that nothing else is added to it later, and is
    locked while it is written.
    """

    def __init__(
        self,
        out: Path | None,
        format_: str,
        made_by: dict[str, Any],
        *,
        resume: bool,
        overwrite: bool,
    ) -> None:
        self.out, self.format = out, format_
        self.done: set[str] = set()
        if out is None:
            return
        self.part = out.with_name(f"{out.name}.part")
        out.parent.mkdir(parents=True, exist_ok=True)
        maker = out.with_name(f".{out.name}.made-by.json")
        self.lock = maker.open("a+b")
        try:
            if try_lock(self.lock) is Lock.TAKEN:
                raise InputError(
                    f"another process is writing {out}: wait for it, or choose another --out"
                )
            if resume and not overwrite and (out.exists() or self.part.exists()):
                _check_maker(maker, made_by, out)
            self._take_up(out, format_, resume, overwrite)
        except BaseException:
            self.lock.close()
            if not maker.stat().st_size:
                maker.unlink()
            raise
        self.lock.truncate(0)
        self.lock.write(json.dumps(made_by).encode())
        self.lock.flush()

    def _take_up(self, out: Path, format_: str, resume: bool, overwrite: bool) -> None:
        """Find what is done already; complain of what must not be replaced."""
        if out.exists() and not (resume or overwrite):
            raise InputError(f"{out} exists; add --resume to go on with it, or --overwrite")
        if resume and self.part.exists():
            self.done = finished_images(self.part, format_)
        elif resume and out.exists():
            self.done = finished_images(out, format_)
            os.replace(out, self.part)
        elif self.part.exists() and not overwrite:
            raise InputError(
                f"{self.part} is what an interrupted run left; add --resume to go on with it, or "
                "--overwrite"
            )
        elif overwrite:
            self.part.unlink(missing_ok=True)

    def __enter__(self) -> TextIO:
        if self.out is None:
            sys.stdout.write(header(self.format))
            return sys.stdout
        self.stream = self.part.open("a", encoding="utf-8", errors="surrogateescape", newline="")
        if self.stream.tell() == 0:
            self.stream.write(header(self.format))
        return self.stream

    def __exit__(self, kind: Any, error: Any, _: object) -> None:
        if self.out is None:
            return
        with self.lock:
            self.stream.close()
            if kind is None:
                os.replace(self.part, self.out)
                return
        hint = f"the same command with --resume goes on with {self.part}"
        if isinstance(error, Stopped):
            error.hint = hint
        else:
            click.echo(f"cut short; {hint}", err=True)
