"""Pictures of a labelled corpus: captions per class, classes per caption, co-occurrence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, StrMethodFormatter
from numpy.typing import NDArray

from tai_dpt.io.atomic import written_together
from tai_dpt.reports.drawing import fitted, plain_text, save_figure
from tai_dpt.scoring.cooccurrence import co_occurrence

_BLUE, _RED = "#0b5fa5", "#d1495b"
_MOST_CLASSES = 100  # more of them cannot be read in one picture
_ROOM = 1.4  # inches for a class's name

#: what ``draw_corpus`` writes
FILES = ("captions_per_class.png", "classes_per_caption.png", "co_occurrence.png")


@plain_text()
def draw_corpus(folder: Path, labels: Any, names: Sequence[str]) -> list[Path]:
    """Write the three pictures of a corpus's labels (N, C) and return where they are."""
    pairs = co_occurrence(labels)
    order = np.argsort(-pairs.diagonal(), kind="stable")[:_MOST_CLASSES]
    chosen = [fitted(names[index], _ROOM, size=7) for index in order]
    figures = {
        FILES[0]: _per_class(pairs.diagonal()[order], chosen, len(names)),
        FILES[1]: _per_caption(labels.sum(1, dtype=np.int64)),
        FILES[2]: _pairs(pairs[np.ix_(order, order)], chosen),
    }
    with written_together(folder) as building:
        for name, figure in figures.items():
            save_figure(figure, building / name, dpi=130)
    return [folder / name for name in figures]


def _per_class(counts: NDArray[np.int64], names: Sequence[str], classes: int) -> Figure:
    figure = Figure(figsize=(7, 1.2 + 0.17 * len(names)), layout="constrained")
    axis = figure.subplots()
    places = np.arange(len(names))
    axis.barh(places, np.maximum(counts, 0.5), color=_BLUE, height=0.75)
    for place, count in zip(places, counts, strict=True):
        text, colour = (f"{count:,}", "#333333") if count else ("none: templates alone", _RED)
        axis.annotate(
            *(text, (max(count, 0.5), place)),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
            color=colour,
        )
    axis.set_xscale("log")
    axis.set_xlim(0.5, max(counts.max(), 1) * 3)
    axis.set_yticks(places, names, fontsize=7)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axis.xaxis.set_minor_formatter(NullFormatter())  # its own are in TeX
    axis.set_xlabel("captions (logarithmic)")
    more = f", the {len(names)} commonest of {classes}" if classes > len(names) else ""
    axis.set_title(f"Captions per class{more}")
    axis.grid(axis="x", alpha=0.3)
    axis.set_axisbelow(True)
    return figure


def _per_caption(sizes: NDArray[np.integer]) -> Figure:
    figure = Figure(figsize=(6, 4), layout="constrained")
    axis = figure.subplots()
    counts = np.bincount(sizes)[1:]
    axis.bar(np.arange(1, len(counts) + 1), 100 * counts / counts.sum(), color=_BLUE)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("classes that a caption names")
    axis.set_ylabel("captions (%)")
    axis.set_title(f"Classes per caption: {sizes.mean():.2f} on average")
    axis.grid(axis="y", alpha=0.3)
    axis.set_axisbelow(True)
    return figure


def _pairs(pairs: NDArray[np.int64], names: Sequence[str]) -> Figure:
    """Of the captions that name the row's class, the share that name the column's too."""
    own = np.maximum(pairs.diagonal(), 1)
    shares = 100 * pairs / own[:, None]
    np.fill_diagonal(shares, np.nan)
    side = 3 + 0.13 * len(names)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axis = figure.subplots()
    axis.set_facecolor("#dddddd")
    # the square root lets rare companions be seen beside the one that goes with everything
    scale = PowerNorm(0.5, vmin=0, vmax=max(1.0, np.nan_to_num(shares).max()))
    image = axis.imshow(shares, cmap="Blues", norm=scale, interpolation="nearest")
    ticks = np.arange(len(names))
    size = 7 if len(names) <= 40 else 5.5
    axis.set_xticks(ticks, names, rotation=90, fontsize=size)
    axis.set_yticks(ticks, names, fontsize=size)
    axis.set_xlabel("… that name this class too (%)")
    axis.set_ylabel("of the captions that name this class, those …")
    axis.set_title("Co-occurrence")
    figure.colorbar(image, ax=axis, shrink=0.6)
    return figure
