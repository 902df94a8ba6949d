"""What a tagger says of where a class is, in an image and in a caption; drawn by ``heatmaps``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from tai_dpt.reports.heatmaps import CaptionExplanation, ImageExplanation
from tai_dpt.tagger.tagger import PromptTagger

_LIKELIEST = 3


def explain_image(
    tagger: PromptTagger,
    image: Image.Image,
    classes: Sequence[str] = (),
    *,
    name: str,
    shifts: int,
) -> ImageExplanation:
    """Heat maps of ``classes`` over an image; of the likeliest where none are given.

    Args:
        name: what the image is called.
        shifts: see ``PromptTagger.heatmap``.
    """
    scores = tagger.scores(image)
    values = tagger.ranking(scores)[0]
    columns = tagger.class_indices(classes) if classes else _best(values)
    names = tuple(str(tagger.classes_[c]) for c in columns)
    return ImageExplanation(
        name=name,
        image=image,
        classes=names,
        heat=tagger.heatmap(image, names, shifts=shifts),
        probabilities=values[columns] if tagger.calibration else np.full(len(columns), np.nan),
        unit=tagger.method.place_value,
    )


def explain_caption(
    tagger: PromptTagger, caption: str, classes: Sequence[str] = ()
) -> CaptionExplanation:
    """The words of a caption for ``classes``; for the likeliest where none are given."""
    columns = (
        tagger.class_indices(classes) if classes else _best(tagger.caption_scores([caption])[0])
    )
    names = tuple(str(tagger.classes_[c]) for c in columns)
    words, values, whole = tagger.words(caption, names)
    return CaptionExplanation(tuple(words), names, values, whole, tagger.method.place_value)


def _best(values: np.ndarray) -> list[int]:
    return [int(i) for i in np.argsort(-values, kind="stable")[:_LIKELIEST]]
