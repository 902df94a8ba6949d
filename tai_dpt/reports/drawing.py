"""What all plots share: names are text, never TeX, that fits, and a file is whole or not there."""

from __future__ import annotations

import functools
import re
import warnings
from bisect import bisect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, fontManager
from matplotlib.textpath import text_to_path

from tai_dpt.errors import first_few, unknown
from tai_dpt.io.atomic import atomic_write

KINDS = ("png", "pdf", "svg")

# families with what the usual one lacks (Chinese, Japanese, Korean, other scripts, emoji)
_FURTHER = (
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans JP", "Noto Sans SC", "Noto Sans KR"),
    *("WenQuanYi Zen Hei", "Droid Sans Fallback", "Hiragino Sans", "PingFang SC", "Yu Gothic"),
    *("Microsoft YaHei", "Malgun Gothic", "Arial Unicode MS", "Noto Sans Devanagari"),
    *("Noto Sans Thai", "Noto Emoji", "Symbola", "Segoe UI Emoji"),
)
_NO_GLYPH = re.compile(r"Glyph (\d+) .* missing from")


@functools.cache
def _further() -> list[str]:
    """Those of them that this machine has."""
    here = {font.name for font in fontManager.ttflist}
    return [family for family in _FURTHER if family in here]


@contextmanager
def plain_text() -> Iterator[None]:
    """Text drawn in this block is shown as it is.

    Matplotlib takes what stands between dollar signs for TeX, and fails where it is none.
    """
    families = [*matplotlib.rcParams["font.family"], *_further()]
    with matplotlib.rc_context({"text.parse_math": False, "font.family": families}):
        yield


def fitted(text: str, room: float, *, size: float, weight: str = "normal") -> str:
    """As much of ``text`` as fits into so many inches."""
    font = FontProperties(size=size, weight=weight)

    def width(shown: str) -> float:
        points, _, _ = text_to_path.get_text_width_height_descent(shown, font, ismath=False)
        return float(points) / 72 * 1.05  # pixels are coarser

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # saving tells of missing characters
        if width(text) <= room:
            return text
        most = bisect(range(len(text)), room, key=lambda count: width(f"{text[:count]}…")) - 1
    return f"{text[:most].rstrip()}…"


def picture_kind(path: Path) -> str:
    """``png``, ``pdf`` or ``svg``, as the file's ending says; InputError for another one."""
    kind = path.suffix.removeprefix(".").lower()
    if kind not in KINDS:
        raise unknown("picture type", kind, KINDS)
    return kind


def save_figure(figure: Figure, path: Path, *, dpi: int) -> None:
    """Write a figure to ``path``, as the kind of picture that its ending says."""
    kind = picture_kind(path)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UserWarning)
        with plain_text(), atomic_write(path) as stream:  # labels of ticks are made now
            figure.savefig(stream, format=kind, dpi=dpi)
    lacking: dict[str, None] = {}
    for warning in told:
        if missing := _NO_GLYPH.match(str(warning.message)):
            lacking[chr(int(missing[1]))] = None
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    if lacking:
        warnings.warn(
            f"no font here has {first_few(list(lacking), 6)}, drawn as boxes: install one that has "
            "(Noto Sans CJK, Noto Emoji), or write a page of HTML where the command can",
            stacklevel=2,
        )
