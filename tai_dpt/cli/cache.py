"""``tai-dpt cache``: what is kept between runs, for what, how much; and away with it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from tai_dpt.cli.command import command
from tai_dpt.cli.names import Known
from tai_dpt.errors import InputError, unknown
from tai_dpt.io.cache import cache_root
from tai_dpt.io.console import answer, say
from tai_dpt.io.reading import read_json

_DAY = 86_400.0  # seconds: a temporary file that old belongs to nobody


@dataclass(frozen=True)
class Entry:
    """Something kept: a file, or the folder of a feature store."""

    path: Path
    name: str  # below the cache folder
    kind: str
    about: str
    size: int  # bytes
    written: float  # seconds since the epoch


_KEPT = Known(lambda: [entry.name for entry in entries(cache_root())], files=False)


@command()
@click.argument(
    "names",
    type=_KEPT,
    nargs=-1,
    metavar="[NAME]...",
)
@click.option("--clear", is_flag=True, help="Remove them: all, or those named.")
def cache(names: tuple[str, ...], clear: bool) -> list[dict[str, Any]]:
    """List what is kept between runs, or remove it; NAME as the list has it.

    \b
    Examples:
      tai-dpt cache
      tai-dpt cache --clear
      tai-dpt cache --clear captions-0123456789abcdef

    Kept are frozen features of captions and images, token ids, captions with their labels, and
    OpenAI's weights where TAI_DPT_CACHE is set. All of it is made or fetched again when it is
    needed. The folder is TAI_DPT_CACHE, else the system's place for a user's caches. A store that
    is being built is left alone, and so is whatever else lies in the folder.
    """
    root = cache_root()
    found = list(entries(root))
    known = {entry.name: entry for entry in found}
    for name in names:
        if name not in known:
            if not found:
                raise InputError(f"nothing is kept in {root}")
            raise unknown("name", name, known)
    chosen = [known[name] for name in dict.fromkeys(names)] if names else found
    if clear:
        removed = [entry for entry in chosen if _remove(entry)]
        size = sum(entry.size for entry in removed)
        say(f"removed {len(removed):,} of {len(chosen):,}, {_bytes(size)}: {root}")
        chosen = removed
    else:
        _show(root, chosen)
    return [_plain(entry) for entry in chosen]


def entries(root: Path) -> Iterator[Entry]:
    """Everything in the cache folder that this project put there."""
    for path in sorted(root.glob("*/manifest.json")):
        if not path.parent.is_symlink() and (about := _store(path)):
            yield _entry(root, path.parent, "features", about)
    for pattern, kind, about in (
        ("tokens-*.npz", "tokens", "token ids of a corpus, for every backbone"),
        ("corpora/*.npz", "labels", "the captions of a corpus and their labels"),
        ("clip/*.pt", "weights", "published by OpenAI"),
    ):
        for path in sorted(root.glob(pattern)):
            yield _entry(root, path, kind, about)
    for pattern in (".*.tmp", "corpora/.*.tmp", "clip/.*.tmp"):
        for path in sorted(root.glob(pattern)):
            if path.is_file() and time.time() - path.stat().st_mtime > _DAY:
                yield _entry(root, path, "leftover", "of a process that was killed")


def _store(manifest: Path) -> str:
    """What a feature store is of; empty where it is none."""
    try:
        content = read_json(manifest)
        if not content["format"].startswith("tai_dpt feature store "):
            return ""
        about = content.get("about") or {}
        key, items = content["identity"]["key"], content["identity"]["items"]
        backbone = about.get("backbone") or f"backbone {str(key.get('backbone', '?'))[:12]}…"
        of = f"{items:,} {key.get('kind', 'items')}"
        said = [str(backbone), of, *(str(v) for k, v in about.items() if k != "backbone")]
        return ", ".join(said) + ("" if content["complete"] else " (unfinished)")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""


def _entry(root: Path, path: Path, kind: str, about: str) -> Entry:
    files = [path] if path.is_file() else [part for part in path.iterdir() if part.is_file()]
    stats = [part.stat() for part in files]
    return Entry(
        path=path,
        name=path.relative_to(root).as_posix(),
        kind=kind,
        about=about,
        size=sum(stat.st_size for stat in stats),
        written=max((stat.st_mtime for stat in stats), default=0.0),
    )


def _remove(entry: Entry) -> bool:
    """Whether it is gone."""
    from tai_dpt.io.lock import Lock, try_lock

    try:
        if not entry.path.is_dir():
            entry.path.unlink()
            return True
        with (entry.path / "build.lock").open("ab") as stream:
            taken = try_lock(stream) is Lock.TAKEN
        if taken:
            say(f"{entry.name} is being built: left alone")
            return False
        shutil.rmtree(entry.path)
    except OSError as error:
        raise InputError(f"cannot remove {entry.path}: {error.strerror}") from None
    return True


def _show(root: Path, chosen: Sequence[Entry]) -> None:
    from tabulate import tabulate

    if not chosen:
        answer(f"nothing is kept in {root}")
        return
    rows = [
        [entry.name, _bytes(entry.size), time.strftime("%F", time.localtime(entry.written)),
         f"{entry.kind}: {entry.about}"]
        for entry in chosen
    ]  # fmt: skip
    answer(tabulate(rows, ["name", "size", "written", "what"], disable_numparse=True))
    answer(f"\n{_bytes(sum(entry.size for entry in chosen))} in {root}")


def _plain(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "kind": entry.kind,
        "about": entry.about,
        "bytes": entry.size,
        "written": round(entry.written),
        "path": str(entry.path),
    }


def _bytes(count: int) -> str:
    from tai_dpt.features.progress import format_bytes  # here: torch comes with it

    return format_bytes(count)
