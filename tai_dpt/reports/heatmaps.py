"""Heat maps over images and shaded words, as images (the paper's figures 3 and 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from tai_dpt.reports.drawing import plain_text

COLORMAP = "inferno"
_LONGEST_SIDE = 640  # of an image in an explanation, in pixels
_SHORTEST_SIDE = 320


@dataclass(frozen=True)
class ImageExplanation:
    """Where in an image classes are.

    Args:
        heat: (k, h, w), similarities; all panels share one scale, so that a class that is not
            there stays dark: from the median of them, as most places show no class, to the highest.
        probabilities: (k,), NaN where unknown.
    """

    name: str
    image: Image.Image
    classes: tuple[str, ...]
    heat: NDArray[np.floating]
    probabilities: NDArray[np.floating]

    @property
    def limits(self) -> tuple[float, float]:
        """The ends of the shared colour scale."""
        return float(np.median(self.heat)), float(self.heat.max())

    def title(self, index: int) -> str:
        probability = self.probabilities[index]
        return self.classes[index] + ("" if np.isnan(probability) else f" {probability:.2f}")

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
        values: (W, k), similarities of words.
        whole: (k,), the whole caption's.
    """

    words: tuple[str, ...]
    classes: tuple[str, ...]
    values: NDArray[np.floating]
    whole: NDArray[np.floating]

    @property
    def limits(self) -> tuple[float, float]:
        """The ends of the shared shading scale."""
        return float(np.median(self.values)), float(self.values.max())


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


@plain_text()
def draw(images: Sequence[ImageExplanation], captions: Sequence[CaptionExplanation]) -> Figure:
    """All explanations on one sheet: a row an image, a block a caption."""
    width = 9.6
    heights: list[float] = []
    for image in images:
        panels = len(image.classes) + 1
        w, h = image.image.size
        heights.append(min(max(width / panels * h / w, 0.8), 4.2) + 0.7)
    heights += [_caption_lines(c, width) * 0.34 + 0.55 for c in captions]
    figure = Figure(figsize=(width, sum(heights)), layout="constrained")
    rows = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    for row, image in zip(rows, images, strict=False):
        _draw_image(row, image)
    for row, caption in zip(rows[len(images) :], captions, strict=True):
        _draw_caption(row, caption, width)
    return figure


def _draw_image(row: Any, explanation: ImageExplanation) -> None:
    row.suptitle(explanation.name, fontsize=10, x=0.01, ha="left")
    panels = row.subplots(1, len(explanation.classes) + 1, squeeze=False)[0]
    for axis in panels:
        axis.set_axis_off()
    panels[0].imshow(explanation.shown_image())
    for index, axis in enumerate(panels[1:]):
        axis.imshow(explanation.overlaid(index))
        axis.set_title(explanation.title(index), fontsize=10)
    low, high = explanation.limits
    scale = matplotlib.cm.ScalarMappable(matplotlib.colors.Normalize(low, high), COLORMAP)
    bar = row.colorbar(scale, ax=panels[-1], fraction=0.06, pad=0.03)
    bar.ax.tick_params(labelsize=7)
    bar.set_label("similarity", fontsize=7)


_CHARACTER = 0.108  # width of a character of the shaded words, in inches


def _wrapped(explanation: CaptionExplanation, width: float) -> list[list[int]]:
    """Indices of the words of each line."""
    room = (width - 1.9) / _CHARACTER
    lines: list[list[int]] = [[]]
    used = 0.0
    for index, word in enumerate(explanation.words):
        needed = len(word) + 1.2
        if used + needed > room and lines[-1]:
            lines.append([])
            used = 0.0
        lines[-1].append(index)
        used += needed
    return lines


def _caption_lines(explanation: CaptionExplanation, width: float) -> int:
    return len(_wrapped(explanation, width)) * len(explanation.classes)


def _draw_caption(row: Any, explanation: CaptionExplanation, width: float) -> None:
    axis = row.subplots()
    lines = _wrapped(explanation, width)
    axis.set_xlim(0, width)
    axis.set_ylim(len(lines) * len(explanation.classes), 0)
    axis.set_axis_off()
    axis.set_title(
        "how much each word speaks for each class; CLIP reads from left to right, so what follows "
        "a word knows of it",
        fontsize=8,
        loc="left",
        color="#555555",
    )
    y = 0.5
    for column, name in enumerate(explanation.classes):
        axis.text(0, y, name, fontsize=10, va="center", weight="bold")
        for line in lines:
            x = 1.7
            for index in line:
                color, ink = shade(explanation.values[index, column], *explanation.limits)
                word = explanation.words[index]
                axis.text(
                    x,
                    y,
                    word,
                    fontsize=11,
                    family="monospace",
                    va="center",
                    color=ink,
                    bbox={"boxstyle": "round,pad=0.18", "facecolor": color, "edgecolor": "none"},
                )
                x += (len(word) + 1.2) * _CHARACTER
            y += 1


def shade(value: float, low: float, high: float) -> tuple[str, str]:
    """The colour of a word, and an ink that can be read on it."""
    strength = float(np.clip((value - low) / max(high - low, 1e-9), 0, 1)) ** 1.5
    color = matplotlib.colormaps["YlOrRd"](strength * 0.85)[:3] if strength > 0.04 else (1, 1, 1)
    ink = "#ffffff" if strength > 0.75 else "#1a1a1a"
    return matplotlib.colors.to_hex(color), ink
