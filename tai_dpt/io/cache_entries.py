"""What lies in the cache folder, and how it is removed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tai_dpt.errors import InputError
from tai_dpt.io.console import say
from tai_dpt.io.lock import Lock, try_lock
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


def remove(entry: Entry) -> bool:
    """Whether it is gone."""
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
