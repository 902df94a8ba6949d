"""``tai-dpt tag``: the classes in every image of a heap of them."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from tai_dpt import distributed
from tai_dpt.cli.command import Beside, Ended, command
from tai_dpt.cli.names import FILE
from tai_dpt.cli.options import (
    files_of,
    rectify_option,
    tagger_argument,
    tagger_options,
    view_option,
)
from tai_dpt.errors import InputError
from tai_dpt.io.atomic import file_sha256
from tai_dpt.io.console import JSON, as_text, asked_for, bar, say, shown
from tai_dpt.io.image_files import Shard, find_images
from tai_dpt.io.output import check_output, check_room
from tai_dpt.io.tar_images import TarImage
from tai_dpt.tags.lines import FORMATS, Tag, record
from tai_dpt.tags.sinks import FileSink, Sidecars, maker_of, part_of
from tai_dpt.tags.whole_files import WHOLE, check_packages

if TYPE_CHECKING:
    from tai_dpt.scoring.scores import Rectification
    from tai_dpt.tagger.tagger import PromptTagger

SOME_UNREADABLE = 3  # exit code
_WIDEST_NAME = 60
_MANY = 1000  # images for which processes are worth their start
# of --out, and the format each says
_ENDINGS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv"}
_ENDINGS |= {".parquet": "parquet", ".txt": "table"}


def _shard(_: click.Context, __: click.Parameter, text: str | None) -> Shard | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    number, count = map(int, found.groups()) if found else (0, 0)
    if number >= count:
        raise click.BadParameter(f"'{text}'; write 0/4, 1/4, 2/4 and 3/4 for four parts")
    return Shard(number, count)


@command(counts={"xmp_name": Beside("format_", "xmp"), "overwrite": Beside("resume", absent=True)})
@tagger_argument
@click.argument("images", type=FILE, nargs=-1, metavar="IMAGE|FOLDER|TAR|PATTERN...")
@click.option(
    "--list",
    "lists",
    multiple=True,
    type=FILE,
    metavar="FILE",
    help="Paths, one a line, or Parquet with a column of them; - for standard input.",
)
@click.option("--top", type=click.IntRange(1), help="At most so many classes an image.")
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    help="Probability from which on a class counts.  [default: the calibrated one; none with "
    "--top]",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    help="How tags are written.  [default: as --out ends, else table]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write to: .csv, .jsonl, .parquet or .txt.",
)
@click.option(
    "--xmp-name",
    type=click.Choice(("full", "stem")),
    help="How sidecars are called: photo.jpg.xmp, or photo.xmp.  [default: full]",
)
@click.option(
    "--shard",
    callback=_shard,
    metavar="I/N",
    help="Tag part I of N, from 0, into tags-I-of-N.csv of --out tags.csv; 'merge-tags' joins "
    "them.  [default: the rank and number of torchrun's processes]",
)
@click.option("--resume", is_flag=True, help="Go on with --out where it was interrupted.")
@click.option("--overwrite", is_flag=True, help="Replace the file --out.")
@view_option("What of an image CLIP sees, this time.  [default: as the tagger has it]")
@rectify_option
@click.option(
    "--batch-size", type=click.IntRange(1), default=64, help="Images that CLIP sees at once."
)
@click.option(
    "--workers",
    type=click.IntRange(0),
    default=4,
    help="Threads that read images; where a GPU has many to see, processes.",
)
@tagger_options
def tag(
    tagger: Path,
    images: tuple[str, ...],
    lists: tuple[str, ...],
    top: int | None,
    threshold: float | None,
    format_: str | None,
    out: Path | None,
    xmp_name: str | None,
    shard: Shard | None,
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
      tai-dpt tag my-tagger archive/ --format coco --out predictions.json
      tai-dpt tag my-tagger archive/ --format xmp
      tai-dpt tag my-tagger 'photos-{000..999}.tar' --out tags.csv --shard 0/4
      find . -name '*.jpg' | tai-dpt tag my-tagger --list - --format jsonl

    The probabilities are those of the tagger's calibration ('tai-dpt calibrate' improves it).
    CLIP sees the middle square of an image; --view whole shows it all of it, squeezed.
    Scores of another --rectify than the tagger's have no probabilities.
    --format jsonl writes a line an image as it goes, --json one document when all is done.

    A tar's images are read where they lie, as photos-000.tar/name.jpg; whole tars go
    to a --shard where there are enough of them.

    xmp writes keywords beside each image, for photo managers; a sidecar that is there is
    never touched. coco gives each tag a box around its whole image (FiftyOne, CVAT).

    Exit codes: 0 done; 3 done, but some images could not be read (listed at the end on
    stderr); 2 wrong input.
    """
    # one document, when all is done
    as_json = asked_for(JSON) and out is None and format_ != "xmp"
    if as_json and format_ is not None:
        raise InputError(f"--json and --format {format_} contradict each other; --out takes both")
    format_ = _format_of(out, format_)
    if format_ == "xmp" and (out or resume or overwrite):
        raise InputError(
            "--format xmp writes beside the images: leave out --out, --resume and --overwrite; an "
            "image that has a sidecar is passed over"
        )
    if format_ in WHOLE and out is None:
        raise InputError(f"--format {format_} needs --out, a file")
    check_packages(format_)
    if resume and out is None:
        raise InputError("--resume needs --out, the file to go on with")
    if overwrite and out is None:
        raise InputError("--overwrite needs --out, the file to replace")
    launched = shard is None and distributed.launched() != (0, 1)
    shard = shard or Shard(*distributed.launched())
    if shard.count > 1:
        out = _part(out, shard, format_, launched=launched)
    if launched:
        say(f"part {shard} of the images, as RANK and WORLD_SIZE in the environment say")
    found = find_images(images, lists=lists, shard=shard)
    names = found.paths
    if found.left_aside:
        say(f"left aside: {found.left_aside}")
    if out is not None:
        # whether what is there may go or be gone on with, the sink says
        out = check_output(
            out, overwrite=True, inputs=[*names, *lists, *files_of(tagger, open_tagger)]
        )
        check_room(out.parent, name=maker_of(out).name)  # a longer name
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
    if shard.count > 1:
        made_by |= {"--shard": str(shard), "images": found.whole}
    width = min(max((len(shown(name)) for name in names), default=0), _WIDEST_NAME)
    sink: Sidecars | FileSink
    if format_ == "xmp":
        if tars := sorted({name.tar for name in names if isinstance(name, TarImage)}):
            raise InputError(
                f"--format xmp writes beside the images: there is no place in {tars[0]}"
            )
        sink = Sidecars(names, by_stem=xmp_name == "stem")
    else:
        sink = FileSink(
            out,
            format_,
            made_by,
            classes=loaded.classes_.tolist(),
            resume=resume,
            overwrite=overwrite,
            width=width,
        )
    # Parquet and COCO have names as text
    fresh = [sink.done.isdisjoint((name, as_text(name))) for name in names]
    if sink.done:
        what = "done already" if out else "have a sidecar, which stays as it is"
        say(f"{out or 'xmp'}: {fresh.count(False):,} of {len(names):,} {what}")
    aligned = isinstance(sink, FileSink) and sink.interrupted
    parts = _parts(fresh, batch_size if aligned else 1)
    if top is None and threshold is None and loaded.calibration is None:
        top = 5
        say("this tagger is not calibrated: the best five by score")
    errors: dict[str, str] = {}
    records: list[dict[str, Any]] = []
    progress = bar(desc="tagging", unit=" images", total=fresh.count(True))
    with sink, progress:
        processes = loaded.backbone.device.type == "cuda" and _for_processes(
            fresh.count(True),
            at_once=2 * workers * batch_size * math.prod(loaded.preprocessing.size),
        )
        reading = {"batch_size": batch_size, "workers": workers, "processes": processes}
        for part in parts:
            for batch in loaded.stream([names[index] for index in part], **reading):
                tags = dict(_tags(loaded, batch, top, threshold))
                found_now = [at for at in sorted({*tags, *batch.errors}) if fresh[part[at]]]
                for at in found_now:
                    name, said, error = names[part[at]], tags.get(at), batch.errors.get(at)
                    errors |= {} if error is None else {name: error}
                    if as_json:
                        records.append(record(name, said, error))
                    else:
                        sink.put(name, said, error)
                sink.flush()
                progress.update(len(found_now))
    if errors:
        word = "image" if len(errors) == 1 else "images"
        click.echo(f"{len(errors):,} {word} could not be read:", err=True)
        for error in errors.values():
            click.echo(f"  {shown(error)}", err=True)
    facts: dict[str, Any] = {"written": out, "images": len(names) - len(errors)}
    facts["unreadable"] = errors
    if isinstance(sink, Sidecars):
        say(f"{sink.written:,} sidecars written")
        facts["written"] = sink.written
    elif out is not None:
        say(f"{out}: {len(names) - len(errors):,} images")
    # any other code than 0 makes torchrun end the processes that still have work
    return Ended(records if as_json else facts, SOME_UNREADABLE if errors and not launched else 0)


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


def _parts(fresh: Sequence[bool], batch_size: int) -> list[list[int]]:
    """The images that are left, in parts that are read one after the other.

    Those behind the last that is done are read from where its batch began: what they are batched
    with decides a score's last digit, and they are to be as in one run.
    """
    behind = max((at + 1 for at, is_fresh in enumerate(fresh) if not is_fresh), default=0)
    start = behind // batch_size * batch_size if behind < len(fresh) else behind
    before = [at for at in range(start) if fresh[at]]
    return [part for part in (before, [*range(start, len(fresh))]) if part]


def _for_processes(images: int, *, at_once: int) -> bool:
    """Whether processes read so many images better than threads.

    They take seconds to start, and hand pixels over in shared memory, of which a container may
    have little.

    Args:
        at_once: places of all images that are read ahead; each has 12 bytes.
    """
    shared = Path("/dev/shm")
    room = not shared.is_dir() or shutil.disk_usage(shared).free > 2 * 12 * at_once
    return images >= _MANY and room


def _part(out: Path | None, shard: Shard, format_: str, *, launched: bool) -> Path | None:
    """The file of a part."""
    if out is None:
        if launched and format_ != "xmp":
            raise InputError(
                f"RANK and WORLD_SIZE in the environment say that {shard.count} processes would "
                "share one output: add --out, or --shard 0/1 to tag all of the images here"
            )
        return None
    if format_ == "table":
        raise InputError("a table cannot be merged: with several parts take csv, jsonl or parquet")
    return part_of(out, shard)


def _format_of(out: Path | None, asked: str | None) -> str:
    """The format that was asked for, else the one that a file's ending says.

    Raises:
        InputError: it says none, as .xlsx does, or another one than was asked for.
    """
    if out is None:
        return asked or "table"
    ending = out.suffix.lower()
    said = _ENDINGS.get(ending)
    if asked is None and said is None:
        known = ", ".join(_ENDINGS)
        raise InputError(
            f"--out {out}: the ending says no format that can be written; take one of {known}, or "
            f"add --format {'|'.join(FORMATS)}"
        )
    if asked and said and asked != said and (asked, ending) != ("coco", ".json"):
        raise InputError(f"--out {out} is called as {said} is, and --format says {asked}")
    return asked or said or "table"
