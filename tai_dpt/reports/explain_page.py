"""Explanations of images and captions as an HTML page, ``templates/explain.html``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tai_dpt.io.console import as_text
from tai_dpt.reports.heatmaps import CaptionExplanation, ImageExplanation, decimals, number, shade
from tai_dpt.reports.page import embedded, render


def explain_page(images: Sequence[ImageExplanation], captions: Sequence[CaptionExplanation]) -> str:
    """All of them on one page, as HTML."""
    return render(
        "explain.html",
        title="Where the classes are",
        images=[_image(item) for item in images],
        captions=[shaded_words(item) for item in captions],
    )


def _image(item: ImageExplanation) -> dict[str, Any]:
    called = as_text(item.name)
    panels = [{"image": embedded(item.shown_image(), called), "caption": "the image"}]
    for index, name in enumerate(item.classes):
        drawn = embedded(item.overlaid(index), f"heat map of {name} over {called}")
        panels.append(
            {"image": drawn, "caption": ": ".join(filter(None, (name, item.probability(index))))}
        )
    return {"name": called, "panels": panels, **legend(item)}


def legend(item: ImageExplanation | CaptionExplanation) -> dict[str, str]:
    """What the colours are: of what, from where to where."""
    low, high = (number(limit, decimals(*item.limits)) for limit in item.limits)
    return {"unit": item.unit, "low": low, "high": high}


def shaded_words(item: CaptionExplanation) -> dict[str, Any]:
    """A caption for a page: of each class every word with its colours and value."""
    classes, digits = [], decimals(*item.limits)
    for column, name in enumerate(item.classes):
        words = []
        for word, values in zip(item.words, item.values, strict=True):
            color, ink = shade(values[column], *item.limits)
            value = number(values[column], digits)
            words.append({"text": word, "color": color, "ink": ink, "value": value})
        classes.append({"name": name, "words": words, "whole": number(item.whole[column], digits)})
    return {"text": " ".join(item.words), "classes": classes, **legend(item)}
