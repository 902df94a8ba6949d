"""Captions with the labels that the noun filter reads off them."""

from __future__ import annotations

import warnings
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from tai_dpt.backbones.tokenizers import CLIPS_OWN, Tokenizer
from tai_dpt.datasets.corpora.parallel import labelled
from tai_dpt.datasets.corpora.sampling import Keep
from tai_dpt.errors import InputError, first_few, shorten
from tai_dpt.labels import NounFilter
from tai_dpt.labels.vocabulary import Vocabulary

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_ALL = Keep()
_MOST_SILENT = 20  # classes without a caption that a warning explains


@dataclass(frozen=True)
class LabelledCorpus:
    """The captions that name a class, with their labels.

    Args:
        texts: N captions, in the order of the corpus.
        labels: (N, C) uint8, 1 where the caption names the class; kept sparse, for a caption
            names a few of many classes. A dense array is taken, too.
        dropped: captions that name no class, those over a limit, and repeated ones.
        naming_none: those of the dropped ones that name no class.
        templates: how many of the texts, the last ones, are template texts and no captions.
        dropped_labels: (C,) how many of the dropped captions name each class; 0 when left out.
    """

    texts: list[str]
    labels: csr_array
    dropped: int = 0
    naming_none: int = 0
    templates: int = 0
    dropped_labels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", _sparse(self.labels))
        if not len(self.dropped_labels):
            none = np.zeros(self.labels.shape[1], np.int64)
            object.__setattr__(self, "dropped_labels", none)

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def captions(self) -> LabelledCorpus:
        """Without the template texts."""
        count = len(self.texts) - self.templates
        return replace(self, texts=self.texts[:count], labels=self.labels[:count], templates=0)

    @property
    def naming_share(self) -> float:
        """Of all captions that were read, the share that names a class."""
        return 1 - self.naming_none / max(self._read, 1)

    @property
    def cardinality(self) -> float:
        """Classes that a caption names on average, of all that were read and name one.

        Not the mean of the texts: a sample of so many a class holds more captions that name many.
        """
        named = self.captions.labels.nnz + self.dropped_labels.sum()
        return float(named / max(self._read - self.naming_none, 1))

    @property
    def _read(self) -> int:
        return len(self.texts) - self.templates + self.dropped

    @property
    def per_class_counts(self) -> NDArray[np.int64]:
        """(C,) captions of each class."""
        counts: NDArray[np.int64] = self.labels.sum(axis=0, dtype=np.int64)
        return counts

    @property
    def per_caption_counts(self) -> NDArray[np.int64]:
        """(N,) classes of each caption."""
        counts: NDArray[np.int64] = np.diff(self.labels.indptr).astype(np.int64)
        return counts

    @property
    def saturated(self) -> bool:
        """Whether every caption names every class, so that none says what a class is not."""
        return bool((self.per_caption_counts == self.labels.shape[1]).all())

    def dense_labels(self, rows: Sequence[int] | NDArray[np.integer]) -> NDArray[np.uint8]:
        """(n, C) of the captions at ``rows``."""
        return np.asarray(self.labels[np.asarray(rows, np.int64)].toarray())

    def of_classes(self, columns: Sequence[int]) -> LabelledCorpus:
        """With labels of the classes at ``columns`` alone, and the captions that name one."""
        chosen = list(columns)
        ours = replace(
            self, labels=self.labels[:, chosen], dropped_labels=self.dropped_labels[chosen]
        )
        return ours.naming_a_class()

    def naming_a_class(self) -> LabelledCorpus:
        """The captions with a label; the others are counted as naming none."""
        named = self.subset(np.flatnonzero(self.per_caption_counts))
        return replace(named, naming_none=self.naming_none + len(self) - len(named))

    def subset(self, rows: Sequence[int] | NDArray[np.integer]) -> LabelledCorpus:
        """The captions at ``rows``, in that order; the others count as dropped."""
        texts = [self.texts[row] for row in rows]
        templates = int((np.asarray(rows) >= len(self.texts) - self.templates).sum())
        result = replace(
            self,
            texts=texts,
            labels=self.labels[np.asarray(rows, np.int64)],
            dropped=self.dropped + len(self.texts) - len(texts),
            templates=templates,
        )
        left_out = self.captions.per_class_counts - result.captions.per_class_counts
        return replace(result, dropped_labels=self.dropped_labels + left_out)


def _sparse(labels: Any) -> csr_array:
    from scipy.sparse import csr_array  # here: it takes a while, and a tagger has no corpus

    rows = csr_array(labels, dtype=np.uint8)
    rows.eliminate_zeros()
    return rows


def label_matrix(rows: Iterable[Sequence[int]], classes: int) -> csr_array:
    """Labels (N, C) from the class indices of each caption."""
    from scipy.sparse import csr_array

    columns, ends = array("i"), array("q", [0])
    for found in rows:
        columns.extend(found)
        ends.append(len(columns))
    ones = np.ones(len(columns), np.uint8)
    shape = (len(ends) - 1, classes)
    return csr_array((ones, np.asarray(columns), np.asarray(ends)), shape=shape)


def label_corpus(
    captions: Iterable[str],
    noun_filter: NounFilter,
    *,
    tokenizer: Tokenizer = CLIPS_OWN,
    progress: bool = False,
    keep: Keep = _ALL,
    workers: int | None = None,
) -> LabelledCorpus:
    """Label captions (see ``read_labels``) and drop those that name no class.

    They are read as they come, and labelled in worker processes where there are many. A class that
    no caption names is warned about: its prompt learns from the templates alone.

    Raises:
        InputError: no caption names any class.
    """
    vocabulary = noun_filter.vocabulary
    names = vocabulary.names
    kept = keep.collector(len(names))
    count = naming_none = 0
    named = [0] * len(names)  # plain numbers: NumPy's take ten times as long one by one
    shown = tqdm(captions, desc="labelling", unit=" captions", disable=not progress)
    for caption, found in labelled(shown, noun_filter, tokenizer, workers=workers):
        count += 1
        if found:
            kept.add(caption, found)
            for index in found:
                named[index] += 1
        else:
            naming_none += 1
    texts = [text for text, _ in kept]
    if not texts:
        raise InputError(
            f"none of the {count:,} captions names any of the {len(names)} classes "
            f"({first_few(map(shorten, names), 8)}); check that the captions are English and the "
            "class list is the right one, or give the classes synonyms"
        )
    labels = label_matrix((found for _, found in kept), len(names))
    corpus = LabelledCorpus(
        texts,
        labels,
        dropped=count - len(texts),
        naming_none=naming_none,
        dropped_labels=np.array(named) - labels.sum(axis=0, dtype=np.int64),
    )
    warn_of_silent_classes(corpus.per_class_counts, vocabulary, tokenizer)
    return corpus


def warn_of_silent_classes(
    counts: NDArray[np.int64], vocabulary: Vocabulary, tokenizer: Tokenizer
) -> None:
    """One warning that names the classes with 0 captions (``counts``: (C,)) and what is sought."""
    silent = np.flatnonzero(counts == 0)
    if not len(silent):
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
    corpus = corpus.naming_a_class()  # the others have no rarest
    labels = corpus.labels
    filed = np.minimum.reduceat(rarity[labels.indices], labels.indptr[:-1])  # (N,)
    order = np.argsort(filed, kind="stable")
    starts = np.searchsorted(filed[order], filed[order])  # where each caption's class begins
    kept = order[np.arange(len(order)) - starts < limit]
    return corpus.subset(np.sort(kept))
