"""The noun filter for languages other than English: the words of a vocabulary as they stand."""

from __future__ import annotations

from collections.abc import Callable

from tai_dpt.labels.spelling import WithinText, found_within, plain, words
from tai_dpt.labels.vocabulary import Vocabulary


class PlainMatcher:
    """Finds the words and phrases of a vocabulary, the longest first, a stretch used once.

    Case, Unicode's forms and hyphens do not count (``normalise``). Nothing else is known of the
    language: every form of a word that counts stands in the vocabulary. Phrases of scripts that
    part no words are found inside words.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        lemma: Callable[[str], str] | None,
        max_tokens: int | None,
    ) -> None:
        """``lemma``: the user's own, from a lower-case word to its base form; None for none."""
        self._lemma = lemma or str
        self._max_tokens = max_tokens
        classes_of = vocabulary.classes_of_phrases()
        within = {phrase for phrase in classes_of if found_within(phrase)}
        self._within = WithinText({phrase: classes_of[phrase] for phrase in within})
        self._phrases: dict[tuple[str, ...], tuple[int, ...]] = {}
        for phrase, classes in classes_of.items():
            if phrase not in within:
                self._phrases.setdefault(self._keys(phrase), classes)
        self._lengths = sorted({len(phrase) for phrase in self._phrases}, reverse=True)

    def _keys(self, text: str) -> tuple[str, ...]:
        return tuple(map(self._lemma, words(text)))

    def __call__(self, caption: str) -> tuple[int, ...]:
        found = self._within.classes(plain(caption))
        keys = self._keys(caption)[: self._max_tokens]
        free = [True] * len(keys)
        for length in self._lengths:
            for start in range(len(keys) - length + 1):
                span = slice(start, start + length)
                classes = self._phrases.get(keys[span])
                if classes is not None and all(free[span]):
                    free[span] = [False] * length
                    found.update(classes)
        return tuple(sorted(found))
