"""Captions with the labels that the noun filter reads off them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import tee

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from tai_dpt.backbones.tokenizers import CLIPS_OWN, Tokenizer
from tai_dpt.errors import InputError, first_few, shorten
from tai_dpt.labels import NounFilter
from tai_dpt.labels.vocabulary import Vocabulary

_MOST_SILENT = 20  # classes without a caption that a warning explains


@dataclass(frozen=True)
class LabelledCorpus:
    """The captions that name a class, with their labels.

    Args:
        texts: N captions, in the order of the corpus.
        labels: (N, C) uint8, 1 where the caption names the class.
        dropped: captions that name no class, and those over a limit.
        templates: how many of the texts, the last ones, are template texts and no captions.
    """

    texts: list[str]
    labels: NDArray[np.uint8]  # (N, C)
    dropped: int = 0
    templates: int = 0

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def per_class_counts(self) -> NDArray[np.int64]:
        """(C,) captions of each class."""
        counts: NDArray[np.int64] = self.labels.sum(axis=0, dtype=np.int64)
        return counts

    def of_classes(self, columns: Sequence[int]) -> LabelledCorpus:
        """With labels of the classes at ``columns`` alone, and the captions that name one."""
        kept = self.subset(np.flatnonzero(self.labels[:, list(columns)].any(axis=1)))
        return replace(kept, labels=kept.labels[:, list(columns)])

    def subset(self, rows: Sequence[int] | NDArray[np.integer]) -> LabelledCorpus:
        """The captions at ``rows``, in that order; the others count as dropped."""
        texts = [self.texts[row] for row in rows]
        templates = int((np.asarray(rows) >= len(self.texts) - self.templates).sum())
        dropped = self.dropped + len(self.texts) - len(texts)
        return LabelledCorpus(texts, self.labels[np.asarray(rows, np.int64)], dropped, templates)


def read_labels(
    captions: Iterable[str], noun_filter: NounFilter, tokenizer: Tokenizer = CLIPS_OWN
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Captions with the sorted class indices that the part of each names which is encoded.

    A backbone reads so many tokens of a text (OpenAI's 77): what a caption names after them is no
    label of its features. The preset "paper" with a ``max_tokens`` reads so many words, as the
    public code does.
    """
    texts, kept = tee(captions)
    most = noun_filter.max_tokens
    all_read = most is not None and most <= tokenizer.context_length
    published = noun_filter.preset == "paper" and all_read
    read = texts if published else map(tokenizer.encoded_part, texts)
    return zip(kept, noun_filter.stream(read), strict=True)


def label_corpus(
    captions: Sequence[str],
    noun_filter: NounFilter,
    *,
    tokenizer: Tokenizer = CLIPS_OWN,
    progress: bool = False,
) -> LabelledCorpus:
    """Label captions (see ``read_labels``) and drop those that name no class.

    A class that no caption names is warned about: its prompt learns from the templates alone.

    Raises:
        InputError: no caption names any class.
    """
    vocabulary = noun_filter.vocabulary
    names = vocabulary.names
    texts: list[str] = []
    rows: list[int] = []
    columns: list[int] = []
    shown = tqdm(captions, desc="labelling", unit=" captions", disable=not progress)
    for caption, found in read_labels(shown, noun_filter, tokenizer):
        if found:
            rows += [len(texts)] * len(found)
            columns += found
            texts.append(caption)
    if not texts:
        raise InputError(
            f"none of the {len(captions):,} captions names any of the {len(names)} classes "
            f"({first_few(map(shorten, names), 8)}); check that the captions are English and the "
            "class list is the right one, or give the classes synonyms"
        )
    labels = np.zeros((len(texts), len(names)), np.uint8)
    labels[rows, columns] = 1
    warn_of_silent_classes(labels, vocabulary, tokenizer)
    return LabelledCorpus(texts, labels, len(captions) - len(texts))


def warn_of_silent_classes(
    labels: NDArray[np.uint8], vocabulary: Vocabulary, tokenizer: Tokenizer
) -> None:
    """One warning that names the classes without a caption and what no caption has."""
    spoken = labels.sum(axis=0, dtype=np.int64)
    silent = [index for index, count in enumerate(spoken) if not count]
    if not silent:
        return
    said = []
    for index in silent[:_MOST_SILENT]:
        name, words = vocabulary.names[index], vocabulary.synonyms[index]
        more = f" or {len(words) - 2} more" if len(words) > 2 else ""
        sought = f"no {' or '.join(repr(shorten(word)) for word in words[:2])}{more}"
        said.append(f"{shorten(name)} ({sought if words else 'its words went to other classes'})")
    more = f", and {len(silent) - len(said)} more" if len(said) < len(silent) else ""
    warnings.warn(
        f"{len(silent)} of {len(vocabulary)} classes have no caption: {', '.join(said)}{more}; "
        f"nothing before the {tokenizer.context_length}th token names them, and their prompts "
        "learn from the templates alone: give synonyms or other captions",
        stacklevel=3,
    )


def limit_per_class(corpus: LabelledCorpus, limit: int) -> LabelledCorpus:
    """At most ``limit`` captions a class, each caption filed under its rarest class.

    As the public code does for OpenImages (limit 1,000): rarity is counted over the whole
    corpus (ties: the class that comes first), and a class keeps the first captions filed under
    it. A common class may still end up in more captions, filed under rarer ones.
    """
    if limit < 1:
        raise InputError(f"the limit of captions per class must be at least 1, got {limit}")
    rarity = np.argsort(np.argsort(corpus.per_class_counts, kind="stable"), kind="stable")
    filed = np.where(corpus.labels > 0, rarity, len(rarity)).argmin(axis=1)  # (N,)
    order = np.argsort(filed, kind="stable")
    starts = np.searchsorted(filed[order], filed[order])  # where each caption's class begins
    kept = order[np.arange(len(order)) - starts < limit]
    return corpus.subset(np.sort(kept))
