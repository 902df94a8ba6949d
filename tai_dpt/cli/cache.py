"""``tai-dpt cache``: what is kept between runs, for what, how much; and away with it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from tai_dpt.cli.command import command
from tai_dpt.cli.names import Known
from tai_dpt.errors import InputError, unknown
from tai_dpt.io.cache import cache_root
from tai_dpt.io.cache_entries import Entry, entries, remove
from tai_dpt.io.console import answer, say

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
        removed = [entry for entry in chosen if remove(entry)]
        size = sum(entry.size for entry in removed)
        say(f"removed {len(removed):,} of {len(chosen):,}, {_bytes(size)}: {root}")
        chosen = removed
    else:
        _show(root, chosen)
    return [_plain(entry) for entry in chosen]


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
