"""What all plots share: names are text, never TeX, and a file is whole or not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from tai_dpt.errors import unknown
from tai_dpt.io.atomic import atomic_write

KINDS = ("png", "pdf", "svg")


@contextmanager
def plain_text() -> Iterator[None]:
    """Text drawn in this block is shown as it is.

    Matplotlib takes what stands between dollar signs for TeX, and fails where it is none.
    """
    with matplotlib.rc_context({"text.parse_math": False}):
        yield


def picture_kind(path: Path) -> str:
    """``png``, ``pdf`` or ``svg``, as the file's ending says; InputError for another one."""
    kind = path.suffix.removeprefix(".").lower()
    if kind not in KINDS:
        raise unknown("picture type", kind, KINDS)
    return kind


def save_figure(figure: Figure, path: Path, *, dpi: int) -> None:
    """Write a figure to ``path``, as the kind of picture that its ending says."""
    kind = picture_kind(path)
    with plain_text(), atomic_write(path) as stream:  # labels of ticks are made now
        figure.savefig(stream, format=kind, dpi=dpi)
