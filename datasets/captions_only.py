"""A class list and captions, no benchmark: what ``tai-dpt fit`` learns from.

Both are given as objects, or ``DATASET.VOCABULARY`` names the classes and ``DATASET.CORPUS.FILES``
the captions; without any the captions are written from templates. With images it is ``ImageList``.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Sequence

import numpy as np
from yacs.config import CfgNode

from tai_dpt.datasets.base import MultiLabelDataset, vocabulary_from_config
from tai_dpt.datasets.corpora import LabelledCorpus
from tai_dpt.datasets.corpora.from_config import corpus_from_config, with_templates
from tai_dpt.datasets.corpora.labelled import label_matrix
from tai_dpt.labels.spelling import readings
from tai_dpt.labels.vocabulary import Vocabulary
from tai_dpt.toolbox import DATASET_REGISTRY

WRITTEN_PER_CLASS = 100

# what goes around one to three class names in a written caption
_ONE = ("a photo of {}.", "there is {} in the image.", "{} seen from close by.", "only {}.")
_MORE = (
    "a photo of {}.",
    "{} in one image.",
    "a scene with {}.",
    "there is {}.",
    "an image of {}.",
)
_JOINTS = (" and ", " next to ", " in front of ", " beside ", " with ", " near ", " behind ")


@DATASET_REGISTRY.register()
class PlainCaptions(MultiLabelDataset):
    """Classes and captions, no images."""

    def __init__(
        self,
        cfg: CfgNode,
        *,
        vocabulary: Vocabulary | None = None,
        captions: Sequence[str] | None = None,
        report: Callable[[str], None] = print,
    ) -> None:
        super().__init__(cfg, vocabulary=vocabulary or vocabulary_from_config(cfg))
        self._captions = captions
        self._report = report

    @property
    def written(self) -> bool:
        """Whether the captions are written from templates, as none were given."""
        return self._captions is None and not self.cfg.DATASET.CORPUS.FILES

    @property
    def corpus(self) -> LabelledCorpus:
        """The labelled captions, then the template texts of every class."""
        if self._corpus is None and not self.written:
            self._corpus = corpus_from_config(
                self.cfg,
                self.vocabulary,
                captions=self._captions,
                tokenizer=self.tokenizer,
                report=self._report,
            )
        elif self._corpus is None:
            for line in self.vocabulary.remarks():
                warnings.warn(line, stacklevel=2)
            self._corpus = written_captions(self.vocabulary, seed=max(self.cfg.SEED, 0))
            if self.cfg.DATASET.CORPUS.TEMPLATES:
                self._corpus = with_templates(self._corpus, self.vocabulary)
        return self._corpus

    def hold_out(self, *, share: float = 0.1, most: int = 1000, least: int = 200) -> LabelledCorpus:
        """Take captions out of ``corpus`` for calibration; template texts stay.

        With fewer than ``least`` captions none is taken out: those that are learned from serve.
        """
        corpus = self.corpus
        captions = corpus.captions
        if len(captions) < least:
            return captions
        draw = np.random.default_rng(max(self.cfg.SEED, 0)).permutation(len(captions))
        held = np.sort(draw[: min(round(len(captions) * share), most)])
        keep = np.setdiff1d(np.arange(len(corpus)), held)
        kept = corpus.subset(keep)
        self._corpus = dataclasses.replace(
            kept, dropped=corpus.dropped, dropped_labels=corpus.dropped_labels
        )
        return captions.subset(held)


def written_captions(
    vocabulary: Vocabulary, *, per_class: int = WRITTEN_PER_CLASS, seed: int = 0
) -> LabelledCorpus:
    """Captions written from templates, of one to three classes each, about ``per_class`` a class.

    Labels are exact, as they are written and not read. Synonyms take turns with the name.
    """
    generator = np.random.default_rng(seed)
    count = len(vocabulary)
    texts: list[str] = []
    rows: list[list[int]] = []
    for _ in range(-(-per_class * count // 2)):
        size = min(int(generator.integers(1, 4)), count)
        classes = [int(i) for i in generator.choice(count, size, replace=False)]
        things = []
        for index in classes:
            name = vocabulary.names[index]
            words = vocabulary.synonyms[index] or (name,)
            word = words[int(generator.integers(len(words)))] if generator.random() < 0.5 else name
            said = readings(word) or (word.replace("_", " "),)
            things.append(_with_article(said[0]))
        scene = things[0]
        for thing in things[1:]:
            scene += _JOINTS[int(generator.integers(len(_JOINTS)))] + thing
        frames = _ONE if size == 1 else _MORE
        texts.append(frames[int(generator.integers(len(frames)))].format(scene))
        rows.append(classes)
    return LabelledCorpus(texts, label_matrix(rows, count))


def _with_article(word: str) -> str:
    return f"{'an' if word[:1].lower() in 'aeiou' else 'a'} {word}"
