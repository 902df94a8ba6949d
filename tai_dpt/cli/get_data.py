"""``tai-dpt get-data``: fetch what the publishers of benchmarks and corpora host."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from string import punctuation
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import click

from tai_dpt.cli.check_data import check_data, test_images_option
from tai_dpt.cli.command import Ended, command
from tai_dpt.cli.names import SOURCE
from tai_dpt.errors import InputError, first_few, unknown
from tai_dpt.io.atomic import atomic_write, file_sha256
from tai_dpt.io.console import answer, say
from tai_dpt.io.download import alone, fetch
from tai_dpt.io.opening import expanded
from tai_dpt.io.output import check_room
from tai_dpt.io.unpack import is_archive, unpack

if TYPE_CHECKING:
    from tai_dpt.datasets.sources import Origin, SourceFile

ARCHIVES = "archives"  # below the data folder
_MOST_UNPACKED = 2  # times what the file of sources says, which is about


@command()
@click.argument("datasets", type=SOURCE, nargs=-1, required=True, metavar="DATASET...")
@click.option("--root", required=True, type=click.Path(path_type=Path), help="The data folder.")
@click.option("--dry-run", is_flag=True, help="Say what would be fetched, and the room it needs.")
@test_images_option
@click.option(
    "--mirror",
    metavar="URL|FOLDER",
    help="Take the files from here, by their names, not from their publishers.",
)
@click.option(
    "--sources",
    type=click.Path(path_type=Path),
    help="A file like datasets/sources.yaml; counts before it.",
)
@click.option("--keep-archives", is_flag=True, help="Do not delete what was fetched and unpacked.")
@click.option("--overwrite", is_flag=True, help="Replace files that differ from the publisher's.")
@click.pass_context
def get_data(
    ctx: click.Context,
    datasets: tuple[str, ...],
    root: Path,
    dry_run: bool,
    test_images_only: bool,
    mirror: str | None,
    sources: Path | None,
    keep_archives: bool,
    overwrite: bool,
) -> Ended:
    """Fetch DATASETs to --root, unpack them as DATASETS.md says, and check them.

    \b
    DATASET is one of
      voc2007 coco2014 nuswide                                 benchmarks
      captions_train2014 captions_val2014 captions_train2017   captions of COCO
      openimages flickr8k flickr30k                            other captions
    Of nuswide, flickr8k and flickr30k it can only say how to ask for them.

    \b
    Examples:
      tai-dpt get-data voc2007 captions_train2014 --root DATA
      tai-dpt get-data coco2014 --root DATA --test-images-only --dry-run
      tai-dpt get-data voc2007 --root DATA --mirror /mnt/downloads

    What is there already is not fetched; what was interrupted goes on. Archives
    lie in DATA/archives meanwhile, and may be put there by hand.

    Exit codes: 0 all of it is complete (with --dry-run, there is room for it);
    1 something is missing or damaged; 2 wrong input, or not to be had.
    """
    from tai_dpt.datasets.inventory import CHECKS
    from tai_dpt.datasets.sources import read_sources

    if root.exists() and not root.is_dir():
        raise InputError(f"--root {root} is no folder")
    if mirror is not None:
        _check_mirror(mirror)
    origins = read_sources(sources)
    for name in datasets:
        if name not in CHECKS:
            raise unknown("dataset", name, CHECKS)
    with nullcontext() if dry_run else alone(root):  # who waited finds here what the other got
        wanted = _wanted(datasets, origins, root, test_images_only=test_images_only)
        _check_space(wanted, root, mirror, keep=keep_archives, show=dry_run)
        if dry_run:
            facts = {"root": root, "to_fetch": [file.model_dump() for file in wanted]}
            return Ended(facts, 0)
        for file in wanted:
            _get(file, root, mirror, keep=keep_archives, overwrite=overwrite)
    root.mkdir(parents=True, exist_ok=True)
    checked: Ended = ctx.invoke(
        check_data, root=root, configs=(), test_images_only=test_images_only, datasets=datasets
    )
    return checked


def _wanted(
    datasets: Sequence[str],
    origins: Mapping[str, Origin],
    root: Path,
    *,
    test_images_only: bool,
) -> list[SourceFile]:
    """The files that hold what is missing, each once; says what is there already."""
    from tai_dpt.datasets.inventory import CHECKS

    wanted: dict[str, SourceFile] = {}
    there: set[str] = set()
    for name in dict.fromkeys(datasets):
        found = CHECKS[name](root)
        for file in origins[name].files:
            parts = file.parts(found)
            if test_images_only and parts and all(part.training for part in parts):
                continue
            if parts and all(part.complete for part in parts):
                there.add(file.name)
            else:
                wanted[file.name] = file
        if not origins[name].files and not all(part.complete for part in found):
            say(f"{name}: only on request; {origins[name].told(root)}")
    for name in sorted(there - wanted.keys()):
        say(f"{name}: what it holds is there")
    return list(wanted.values())


def _check_mirror(mirror: str) -> None:
    """Complain of what is neither a folder nor the address of one."""
    if "://" not in mirror:
        if not mirror.strip():
            raise InputError("--mirror is empty: give an address or a folder, or leave it out")
        return
    try:
        parts = urlsplit(mirror)
        is_web = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_web = False
    if not is_web:
        raise InputError(f"--mirror {mirror}: give an address of http or https, or a folder")
    if "@" in parts.netloc or "?" in mirror or "#" in mirror:
        raise InputError(
            "--mirror: the address of a folder has no user's name and nothing after ? or #: the "
            "files' names are put at its end"
        )


def _places(file: SourceFile, root: Path, mirror: str | None) -> tuple[Path, Path]:
    """Where the file comes to lie, and where it is read from: there, or in a local mirror."""
    target = root / (ARCHIVES if is_archive(file.name) else file.into) / file.name
    if mirror is not None and "://" not in mirror:
        return target, expanded(mirror) / file.name
    return target, target


def _check_space(
    files: Sequence[SourceFile], root: Path, mirror: str | None, *, keep: bool, show: bool
) -> None:
    """Complain where there is less room than fetching and unpacking take at their peak."""
    to_fetch = kept = peak = 0
    for file in files:
        target, source = _places(file, root, mirror)
        part = target.with_name(f"{target.name}.part")
        held = part.stat().st_size if part.exists() else 0
        rest = 0 if source.exists() else max(0, file.size - held)
        peak = max(peak, kept + rest + file.unpacked)
        kept += file.unpacked + (rest if keep or not is_archive(file.name) else 0)
        to_fetch += rest
        if show:
            where = "here" if source.exists() else mirror or file.url
            about = "" if file.bytes is not None else "about "
            resumed = f", {held / 1e6:,.0f} MB of it here" if held else ""
            checksum = "" if file.sha256 else "; no checksum is known"
            answer(f"{file.name}: {about}{file.size:,} bytes{resumed}; {where}{checksum}")
    if show:
        place = next(place for place in (root, *root.absolute().parents) if place.exists())
        answer(
            f"to fetch: {to_fetch / 1e9:,.2f} GB; room needed: about {peak / 1e9:,.2f} GB; "
            f"free at {root}: {shutil.disk_usage(place).free / 1e9:,.2f} GB"
        )
    check_room(root, needs=peak, option="--root")


def _get(file: SourceFile, root: Path, mirror: str | None, *, keep: bool, overwrite: bool) -> None:
    """Fetch one file, and unpack it."""
    target, source = _places(file, root, mirror)
    if mirror is not None and source != target:
        if not source.is_file():
            raise InputError(f"--mirror {mirror} has no file {file.name}")
        _check(source, file)
    elif target.exists():
        if is_archive(file.name):
            _check(target, file)
        elif not overwrite:
            raise InputError(
                f"{target} is there and not complete: move it away, or add --overwrite"
            )
    put_by_hand = source.exists() and is_archive(file.name)
    if source == target and not put_by_hand:
        place = quote(mirror.rstrip("/"), safe=punctuation) if mirror else ""
        url = f"{place}/{quote(file.name)}" if mirror else file.url
        say(f"{file.name}: from {url}")
        remedy = "" if mirror else ", or name a mirror that has it (--mirror URL)"
        fetch(url, target, size=file.bytes, sha256=file.sha256, remedy=remedy)
    if not is_archive(file.name):
        if source != target:
            with source.open("rb") as stream, atomic_write(target) as sink:
                shutil.copyfileobj(stream, sink, 1 << 20)
        return
    say(f"{file.name}: unpacking to {root / file.into}")
    most = _MOST_UNPACKED * file.unpacked
    if differ := unpack(source, root / file.into, most=most, overwrite=overwrite):
        say(
            f"{file.name}: {len(differ):,} files differ from those that are there, which stay "
            f"(--overwrite replaces them): {first_few(differ, 3)}",
        )
    if not put_by_hand and not keep:
        source.unlink()


def _check(path: Path, file: SourceFile) -> None:
    """A file that somebody put there."""
    size = path.stat().st_size
    if file.bytes not in (None, size):
        raise InputError(f"{path} has {size:,} bytes, not {file.bytes:,}: get it again")
    if file.sha256 is not None and file_sha256(path) != file.sha256:
        raise InputError(f"{path} is damaged (its checksum is another's): get it again")
