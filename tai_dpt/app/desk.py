"""What the page asks of a tagger: labels, heat maps, the words of a caption, corrections."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tai_dpt.app.corrections import Corrections
from tai_dpt.errors import InputError
from tai_dpt.io.images import read_image
from tai_dpt.reports.explain_page import legend, shaded_words
from tai_dpt.reports.explaining import explain_caption, explain_image
from tai_dpt.reports.heatmaps import for_show
from tai_dpt.reports.page import embedded
from tai_dpt.scoring.metrics import check_finite
from tai_dpt.tagger.tagger import PromptTagger

_MOST_LABELS = 50  # of an image, the likeliest
_SHIFTS = 2
_MOST_TEXT = 10_000  # bytes of a caption

Asked = Mapping[str, Sequence[str]]  # the fields of a request


class Desk:
    """Answers one question at a time: a tagger takes all the cores, an image much memory.

    Images come with each question and are not kept: only ``correct`` writes one down.
    """

    def __init__(self, tagger: PromptTagger, corrections: Corrections) -> None:
        self.tagger = tagger
        self.corrections = corrections
        self._busy = threading.Lock()

    def answer(self, question: str, asked: Asked, content: bytes) -> dict[str, Any]:
        """The answer to one of ``QUESTIONS``, as plain values.

        Args:
            asked: its fields; ``name`` is what the image is called.
            content: the image's file, or a caption as UTF-8.

        Raises:
            InputError: no image, no such class, or something else that is wrong with the question.
        """
        with self._busy:
            return QUESTIONS[question](self, asked, content)

    def about(self) -> dict[str, Any]:
        """What the page has to know of the tagger."""
        calibration = self.tagger.calibration
        own = calibration is not None and len(calibration.thresholds) > 0
        return {
            "classes": self.tagger.classes_.tolist(),
            "calibrated": calibration is not None,
            "threshold": 0.5 if calibration is None else round(calibration.threshold, 2),
            "thresholds": calibration.thresholds if calibration is not None and own else None,
            "heat": _goes(self.tagger.need_heat_maps),
            "words": _goes(self.tagger.need_words),
            "folder": str(self.corrections.folder),
            "corrected": len(self.corrections),
        }

    def labels(self, asked: Asked, content: bytes) -> dict[str, Any]:
        """The likeliest classes of an image with probabilities (or scores), and the image."""
        name = _name(asked)
        image = read_image(content, name=name, side=self.tagger.preprocessing.side)
        scores = self.tagger.scores(image)
        check_finite(scores, ids=[name], class_names=self.tagger.classes_.tolist())
        values = self.tagger.ranking(scores)[0]
        best = np.argsort(-values, kind="stable")[:_MOST_LABELS]
        return {
            "image": embedded(for_show(image), name).source,
            "labels": [[str(self.tagger.classes_[c]), round(float(values[c]), 4)] for c in best],
        }

    def heat(self, asked: Asked, content: bytes) -> dict[str, Any]:
        """Where the first ``class`` is in an image; the others share its colour scale."""
        name = _name(asked)
        image = read_image(content, name=name, side=self.tagger.preprocessing.side)
        shown = explain_image(self.tagger, image, asked.get("class", ()), name=name, shifts=_SHIFTS)
        return {"image": embedded(shown.overlaid(0), name).source, **legend(shown)}

    def words(self, asked: Asked, content: bytes) -> dict[str, Any]:
        """The words of a caption, for the classes asked for or the likeliest."""
        if len(content) > _MOST_TEXT:
            raise InputError(f"the caption has {len(content):,} bytes; {_MOST_TEXT:,} are read")
        caption = " ".join(content.decode("utf-8", "replace").split())
        if not caption:
            raise InputError("the caption is empty; write a sentence")
        return shaded_words(explain_caption(self.tagger, caption, asked.get("class", ())))

    def correct(self, asked: Asked, content: bytes) -> dict[str, Any]:
        """Keep what is ``present`` in an image, and what is ``absent`` where not ``all`` is."""
        name = _name(asked)
        present, absent = (self._names(asked.get(field, ())) for field in ("present", "absent"))
        if both := set(present) & set(absent):
            raise InputError(f"'{min(both)}' cannot be both in the image and not in it")
        if not present and not absent and "all" not in asked:
            raise InputError("nothing is marked; say what is right, wrong or missing")
        read_image(content, name=name, glance=True)
        rest = None if "all" in asked else absent
        self.corrections.save(name, content, present=present, absent=rest)
        return {"corrected": len(self.corrections)}

    def _names(self, classes: Sequence[str]) -> list[str]:
        """The classes as the tagger spells them, each once."""
        columns = dict.fromkeys(self.tagger.class_indices(list(classes)))
        return [str(self.tagger.classes_[c]) for c in columns]


QUESTIONS = {
    "/labels": Desk.labels,
    "/heat": Desk.heat,
    "/words": Desk.words,
    "/corrections": Desk.correct,
}


def _goes(need: Callable[[], None]) -> bool:
    """Whether what is needed is there."""
    try:
        need()
    except InputError:
        return False
    return True


def _name(asked: Asked) -> str:
    return next(iter(asked.get("name", ())), "") or "image"
