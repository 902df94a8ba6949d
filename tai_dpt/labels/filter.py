"""The noun filter: captions in, class indices out."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence

from tai_dpt.errors import InputError, unknown
from tai_dpt.labels.default import DefaultMatcher
from tai_dpt.labels.lemmas import singular
from tai_dpt.labels.paper import PaperMatcher
from tai_dpt.labels.plain_words import PlainMatcher
from tai_dpt.labels.vocabulary import Vocabulary

PRESETS = ("default", "paper")
LEMMATIZERS = ("builtin", "nltk")
_NO_LEMMATIZER = "none"  # of a vocabulary in another language than English

# raise it whenever labels of the same captions and vocabulary may change: caches are keyed by it
VERSION = 8


class NounFilter:
    """Reads class labels off captions by the words and phrases of a vocabulary.

    Lower-case, tokenise, lemmatise; then the longest phrases first, each stretch of the caption
    used once (paper, section 3.1 and supplementary material). Deterministic.

    Args:
        vocabulary: the classes and their words.
        preset: "paper" gives the labels of the public pipeline; "default" adds irregular
            plurals, the vocabulary's grown words and the rules that tell nouns from adjectives
            and verbs.
        lemmatizer: "builtin" (nothing to download), "nltk", or a function from a lower-case word
            to its lemma. Left out: what the preset needs, "builtin" for the default and "nltk"
            for "paper", which with any other lemmatiser is only an approximation (a warning
            says so).
        max_tokens: read only so many words and marks of a caption; the public code reads 77 of
            each OpenImages narrative and all of a COCO caption.

    All of this is about English. Words of a vocabulary in another language are found as they
    stand (``PlainMatcher``).

    What a user should know of the names (``Vocabulary.remarks``) is warned about.

    Raises:
        InputError: unknown preset or lemmatiser, or one that is of English for a vocabulary that
            is not, or NLTK or its data are missing.

    >>> from tai_dpt.labels.vocabulary import Vocabulary
    >>> noun_filter = NounFilter(vocabulary=Vocabulary.from_names(["dog", "traffic light"]))
    >>> noun_filter.labels(["two dogs wait at a traffic-light", "a blue sky"])
    [(0, 1), ()]
    """

    def __init__(
        self,
        *,
        vocabulary: Vocabulary,
        preset: str = "default",
        lemmatizer: str | Callable[[str], str] | None = None,
        max_tokens: int | None = None,
    ) -> None:
        if preset not in PRESETS:
            raise unknown("preset of the noun filter", preset, PRESETS)
        if max_tokens is not None and max_tokens < 1:
            raise InputError(f"max_tokens must be at least 1, got {max_tokens}")
        if not vocabulary.english:
            lemmatizer = _of_any_language(vocabulary, preset, lemmatizer)
        elif lemmatizer is None:
            lemmatizer = "nltk" if preset == "paper" else "builtin"
        if vocabulary.english and isinstance(lemmatizer, str) and lemmatizer not in LEMMATIZERS:
            raise unknown("lemmatizer", lemmatizer, LEMMATIZERS)
        for line in vocabulary.remarks():
            warnings.warn(line, stacklevel=2)
        self.vocabulary = vocabulary
        self.preset = preset
        self.lemmatizer = lemmatizer
        self.max_tokens = max_tokens
        self._match: Callable[[str], tuple[int, ...]]
        if not vocabulary.english:
            self._match = PlainMatcher(
                vocabulary,
                lemma=None if isinstance(lemmatizer, str) else lemmatizer,
                max_tokens=max_tokens,
            )
        elif preset == "paper":
            if lemmatizer != "nltk":
                warnings.warn(
                    "the preset 'paper' gives the public pipeline's labels only with the "
                    "lemmatizer 'nltk'; with another they are an approximation",
                    stacklevel=2,
                )
            lemma = None if lemmatizer == "nltk" else _word_function(lemmatizer)
            self._match = PaperMatcher(vocabulary, lemma=lemma, max_tokens=max_tokens)
        else:
            self._match = DefaultMatcher(
                vocabulary, lemma=_word_function(lemmatizer), max_tokens=max_tokens
            )

    def labels(self, captions: Sequence[str]) -> list[tuple[int, ...]]:
        """The sorted class indices of each caption; () where it names no class."""
        return list(self.stream(captions))

    def stream(self, captions: Iterable[str]) -> Iterator[tuple[int, ...]]:
        """As ``labels``, one caption at a time."""
        if isinstance(captions, str):
            raise InputError("captions must be a list of texts, not one text")
        return map(self._match, captions)

    def fingerprint(self) -> str:
        """A hash of what decides the labels of a caption, for the keys of caches.

        Raises:
            InputError: the lemmatiser is a function: it has no name that stays the same.
        """
        if not isinstance(self.lemmatizer, str):
            raise InputError("labels of a lemmatizer function cannot be cached; give it by name")
        parts = (VERSION, self.vocabulary.fingerprint(), self.preset, self.lemmatizer)
        return hashlib.sha256(repr((*parts, self.max_tokens)).encode()).hexdigest()


def _of_any_language(
    vocabulary: Vocabulary, preset: str, lemmatizer: str | Callable[[str], str] | None
) -> str | Callable[[str], str]:
    """The lemmatiser for a vocabulary that is not English: the user's own, or none."""
    where = f"{vocabulary.source}: " if vocabulary.source else ""
    given = [f"the preset '{preset}'"] if preset != "default" else []
    given += [f"the lemmatizer '{lemmatizer}'"] if isinstance(lemmatizer, str) else []
    if given:
        raise InputError(
            f"{where}the language is '{vocabulary.language}', and {given[0]} is of English: leave "
            "it out"
        )
    return lemmatizer if callable(lemmatizer) else _NO_LEMMATIZER


def _word_function(lemmatizer: str | Callable[[str], str]) -> Callable[[str], str]:
    if callable(lemmatizer):
        return lemmatizer
    if lemmatizer == "nltk":
        from tai_dpt.labels.wordnet import noun_lemmatizer

        return noun_lemmatizer()
    return singular
