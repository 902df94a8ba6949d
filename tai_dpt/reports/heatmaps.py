"""Heat maps over images and shaded words, as images (the paper's figures 3 and 4)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image

from tai_dpt.io.console import shown
from tai_dpt.reports.drawing import fitted, plain_text

COLORMAP = "inferno"
_LONGEST_SIDE = 640  # of an image in an explanation, in pixels
_SHORTEST_SIDE = 320


@dataclass(frozen=True)
class ImageExplanation:
    """Where in an image classes are.

    Args:
        heat: (k, h, w), of every place; all panels share one scale, so that a class that is not
            there stays dark: from the median of them, as most places show no class, to the highest.
        probabilities: (k,), NaN where unknown.
        unit: what the heat is; a method's ``place_value``.
    """

    name: str
    image: Image.Image
    classes: tuple[str, ...]
    heat: NDArray[np.floating]
    probabilities: NDArray[np.floating]
    unit: str

    @property
    def limits(self) -> tuple[float, float]:
        """The ends of the shared colour scale."""
        return float(np.median(self.heat)), float(self.heat.max())

    def probability(self, index: int) -> str:
        """A class's, with its name; nothing where it is unknown."""
        value = self.probabilities[index]
        return "" if np.isnan(value) else f"probability {value:.2f}"

    def shown_image(self) -> Image.Image:
        """The image at the size of an explanation."""
        return for_show(self.image)

    def overlaid(self, index: int) -> Image.Image:
        """The image with a class's heat over it."""
        return overlay(self.shown_image(), self.heat[index], *self.limits)


@dataclass(frozen=True)
class CaptionExplanation:
    """Which words of a caption speak for which class.

    Args:
        values: (W, k), of words.
        whole: (k,), the whole caption's.
        unit: what the values are, as in ``ImageExplanation``.
    """

    words: tuple[str, ...]
    classes: tuple[str, ...]
    values: NDArray[np.floating]
    whole: NDArray[np.floating]
    unit: str

    @property
    def limits(self) -> tuple[float, float]:
        """The ends of the shared shading scale."""
        return float(np.median(self.values)), float(self.values.max())


def decimals(low: float, high: float) -> int:
    """Digits behind the point that tell a tenth of a range; two at least.

    >>> decimals(0.1, 0.8), decimals(-4.167, -4.158)
    (2, 4)
    """
    return max(2, 1 - math.floor(math.log10(high - low))) if high > low else 2


def number(value: float, digits: int) -> str:
    """A value with so many digits behind the point; what rounds to zero has no sign.

    >>> number(-0.004, 2), number(-0.006, 2)
    ('0.00', '-0.01')
    """
    return f"{round(float(value), digits) + 0.0:.{digits}f}"


def for_show(image: Image.Image) -> Image.Image:
    """An image at the size at which people look at it."""
    width, height = image.size
    scale = min(_LONGEST_SIDE / max(width, height), 1.0)
    scale = max(scale, min(_SHORTEST_SIDE / min(width, height), 8 * _LONGEST_SIDE / width))
    if max(width, height) * scale > 4 * _LONGEST_SIDE:
        scale = 4 * _LONGEST_SIDE / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return image.resize(size, Image.Resampling.LANCZOS)


def overlay(image: Image.Image, heat: NDArray[np.floating], low: float, high: float) -> Image.Image:
    """Heat over an image: the hotter, the more colour and the more of the image's light."""
    strength = np.clip((heat - low) / max(high - low, 1e-9), 0, 1)
    grid = Image.fromarray(strength.astype(np.float32), mode="F")
    smooth = np.clip(np.asarray(grid.resize(image.size, Image.Resampling.BICUBIC)), 0, 1)
    colors = matplotlib.colormaps[COLORMAP](0.3 + 0.65 * smooth)[..., :3]  # (H, W, 3)
    pixels = np.asarray(image, np.float32) / 255
    gray = pixels.mean(-1, keepdims=True)
    faded = 0.5 * gray + 0.15 * pixels
    weight = (0.75 * smooth**1.3)[..., None]
    mixed = (1 - weight) * (faded + 0.3 * smooth[..., None] * pixels) + weight * colors
    return Image.fromarray((np.clip(mixed, 0, 1) * 255).round().astype(np.uint8))


_WIDTH = 9.6  # of a sheet, in inches
_ROW = 0.3  # of a caption's table
_CHARACTER = 0.092  # width of a character in it
_GAP = 0.06  # between its cells
_NAMES = 1.5  # room for the class names
_WORDS = _WIDTH - _NAMES - 0.1  # room for a line of words
_COLUMNS = 6  # panels of an image beside each other, at most
_WHOLE = "whole caption"
_SOFT = "#555555"


@plain_text()
def draw(images: Sequence[ImageExplanation], captions: Sequence[CaptionExplanation]) -> Figure:
    """All explanations on one sheet: a row an image, a table a caption."""
    heights: list[float] = []
    for image in images:
        lines, columns = _grid(image)
        w, h = image.image.size
        heights.append((min(max(_WIDTH / columns * h / w, 0.8), 4.2) + 0.4) * lines + 0.55)
    heights += [_caption_height(caption) for caption in captions]
    figure = Figure(figsize=(_WIDTH, sum(heights)), layout="constrained")
    rows = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    for row, image in zip(rows, images, strict=False):
        _draw_image(row, image)
    for row, caption in zip(rows[len(images) :], captions, strict=True):
        _draw_caption(row, caption)
    return figure


def _grid(explanation: ImageExplanation) -> tuple[int, int]:
    """Lines and columns of panels: the image and a class each."""
    panels = len(explanation.classes) + 1
    columns = min(panels, _COLUMNS)
    return -(-panels // columns), columns


def _draw_image(row: Any, explanation: ImageExplanation) -> None:
    lines, columns = _grid(explanation)
    name = fitted(shown(explanation.name), _WIDTH - 0.2, size=10)
    row.suptitle(name, fontsize=10, x=0.01, ha="left")
    panels = row.subplots(lines, columns, squeeze=False).flatten()
    for axis in panels:
        axis.set_axis_off()
    panels[0].imshow(explanation.shown_image())
    panels[0].set_title("the image\n", fontsize=9)
    for index, axis in enumerate(panels[1 : len(explanation.classes) + 1]):
        axis.imshow(explanation.overlaid(index))
        name = fitted(explanation.classes[index], _WIDTH / columns - 0.15, size=9)
        axis.set_title(f"{name}\n{explanation.probability(index)}", fontsize=9)
    low, high = explanation.limits
    axis = row.add_axes((0.36, 0.03 / lines, 0.28, 0.04 / lines))
    row.supxlabel(" ", fontsize=12)  # room for the scale
    _draw_scale(axis, heat_ramp(), low, high, f"{explanation.unit} of a class at a place")


def _draw_scale(axis: Any, ramp: Image.Image, low: float, high: float, name: str) -> None:
    """The legend of a colour: its name, and a ramp between what its ends stand for."""
    axis.imshow(ramp, aspect="auto")
    axis.set(xticks=[], yticks=[])
    for side in axis.spines.values():
        side.set_edgecolor("#bbbbbb")
    digits = decimals(low, high)
    bottom, top = number(low, digits), number(high, digits)
    ends = (f"{name}   {bottom} ", "right", -0.01), (f" {top}", "left", 1.01)
    for text, side, x in ends:
        axis.text(
            x, 0.5, text, fontsize=8, ha=side, va="center", color=_SOFT, transform=axis.transAxes
        )


def heat_ramp() -> Image.Image:
    """The colours of a heat map over middle gray, from the lowest value to the highest."""
    ramp = np.linspace(0, 1, 256, dtype=np.float32)[None]
    return overlay(Image.new("RGB", (256, 8), (128, 128, 128)), ramp, 0.0, 1.0)


def _shade_ramp() -> Image.Image:
    colors = [matplotlib.colors.to_rgb(shade(x, 0.0, 1.0)[0]) for x in np.linspace(0, 1, 256)]
    return Image.fromarray((np.array([colors]) * 255).round().astype(np.uint8))


def _lines(explanation: CaptionExplanation) -> list[list[tuple[str, float, float]]]:
    """The columns of a caption's table, line by line: what is above it, its place, its width."""
    lines: list[list[tuple[str, float, float]]] = [[]]
    x = _NAMES
    for word in (*explanation.words, _WHOLE):
        width = min(max(len(word) + 1, 5) * _CHARACTER, _WORDS)
        if x + width > _WIDTH and lines[-1]:
            lines.append([])
            x = _NAMES
        lines[-1].append((word, x, width))
        x += width + _GAP
    return lines


def _caption_height(explanation: CaptionExplanation) -> float:
    return (len(_lines(explanation)) * (len(explanation.classes) + 1.5) + 2.2) * _ROW


def _draw_caption(row: Any, explanation: CaptionExplanation) -> None:
    """A table: a column a word, a row a class, the value in each shaded cell."""
    height = _caption_height(explanation)
    axis = row.add_axes((0, 0, 1, 1))
    axis.set_xlim(0, _WIDTH)
    axis.set_ylim(height, 0)
    axis.set_axis_off()
    cells = np.concatenate([explanation.values, explanation.whole[None]])  # (W + 1, k)
    title = "how much each word speaks for each class (CLIP reads from left to right: a word knows"
    title += " those before it)"
    axis.text(0.08, 0.5 * _ROW, title, fontsize=9, va="center", color=_SOFT)
    y, column, digits = 1.6 * _ROW, 0, decimals(*explanation.limits)
    for line in _lines(explanation):
        for place, name in enumerate(("", *explanation.classes)):
            middle = y + place * _ROW
            name = fitted(name, _NAMES - 0.12, size=10, weight="bold")
            axis.text(0.08, middle, name, fontsize=10, va="center", weight="bold")
        for offset, (word, x, width) in enumerate(line):
            whole = word == _WHOLE and column + offset == len(explanation.words)
            axis.text(
                x + width / 2,
                y,
                fitted(word, _WORDS, size=10),
                fontsize=9 if whole else 10,
                ha="center",
                va="center",
                style="italic" if whole else "normal",
            )
            for place, value in enumerate(cells[column + offset], start=1):
                color, ink = shade(value, *explanation.limits)
                top = y + (place - 0.5) * _ROW + 0.02
                axis.add_patch(
                    Rectangle((x, top), width, _ROW - 0.04, facecolor=color, edgecolor="#dddddd")
                )
                axis.text(
                    *(x + width / 2, y + place * _ROW, number(value, digits)),
                    **{"fontsize": 9, "ha": "center", "va": "center", "color": ink},
                )
        column += len(line)
        y += (len(explanation.classes) + 1.5) * _ROW
    low, high = explanation.limits
    legend = row.add_axes((0.36, 0.18 / height, 0.28, 0.12 / height))
    _draw_scale(legend, _shade_ramp(), low, high, f"{explanation.unit} of a class at a word")


def shade(value: float, low: float, high: float) -> tuple[str, str]:
    """The colour of a word, and an ink that can be read on it."""
    strength = float(np.clip((value - low) / max(high - low, 1e-9), 0, 1)) ** 1.5
    color = matplotlib.colormaps["YlOrRd"](strength * 0.85)[:3] if strength > 0.04 else (1, 1, 1)
    ink = "#ffffff" if strength > 0.75 else "#1a1a1a"
    return matplotlib.colors.to_hex(color), ink
