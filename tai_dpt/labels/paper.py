"""The preset "paper": the labels of the paper's public pipeline, deterministically."""

from __future__ import annotations

import re
from collections.abc import Callable

from tai_dpt.labels.vocabulary import Vocabulary
from tai_dpt.labels.wordnet import pos_lemmatizer, tagger, tokenizer

# roughly what NLTK's tokenizer does: "dog's" is two tokens, punctuation stands alone
_TOKEN = re.compile(r"\w+(?:-\w+)*|'\w+|[^\w\s]")
_POS_OF_TAG = {"J": "a", "V": "v", "N": "n", "R": "r"}


class PaperMatcher:
    """Tokens, tags and lemmas of NLTK; names are looked up as whole words in the joined lemmas.

    Names of several words first, also written as one word ("motorbike"); a name that is found is
    cut out. The public code goes through its names in the order of a set, which changes from run
    to run; here: more words first, then longer names, then the vocabulary's order.

    Tagging is what costs time, and it decides nothing unless a word has a different lemma as
    noun, verb, adjective or adverb, one of which occurs in a name: other captions are not
    tagged. This leaves every label as it is.

    Args:
        lemma: a function from word to lemma used instead of NLTK, an approximation.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        lemma: Callable[[str], str] | None,
        max_tokens: int | None,
    ) -> None:
        phrases: dict[str, int] = {}
        self._words: dict[str, int] = {}
        for index, names in enumerate(vocabulary.synonyms):
            for name in names:
                if " " in name:
                    phrases[name] = index
                self._words[name.replace(" ", "")] = index
        ordered = sorted(phrases, key=lambda name: (-name.count(" "), -len(name)))
        self._phrases = [(f" {name} ", phrases[name]) for name in ordered]
        self._relevant = {word for name in phrases for word in name.split()} | set(self._words)
        self._max_tokens = max_tokens
        self._lemmas: dict[str, dict[str, str] | str] = {}
        self._lemma = lemma
        if lemma is None:
            self._tokenize = tokenizer()
            self._tag = tagger()
            self._lemma_as = pos_lemmatizer()
        else:
            self._tokenize = _TOKEN.findall

    def __call__(self, caption: str) -> tuple[int, ...]:
        tokens = self._tokenize(caption.lower())[: self._max_tokens]
        words = self._lemmatized(tokens)
        if self._relevant.isdisjoint(words):
            return ()
        text = f" {' '.join(words)} "
        found = set()
        for phrase, index in self._phrases:
            if phrase in text:
                found.add(index)
                text = text.replace(phrase, " ")
        found.update(self._words[word] for word in text.split() if word in self._words)
        return tuple(sorted(found))

    def _lemmatized(self, tokens: list[str]) -> list[str]:
        lemmas = [self._lemmas_of(token) for token in tokens]
        if all(isinstance(lemma, str) for lemma in lemmas):
            return lemmas  # type: ignore[return-value]
        tags = self._tag(tokens)
        return [
            lemma if isinstance(lemma, str) else lemma[_POS_OF_TAG.get(tag[0], "n")]
            for lemma, (_, tag) in zip(lemmas, tags, strict=True)
        ]

    def _lemmas_of(self, token: str) -> dict[str, str] | str:
        """The one lemma that matters, or the lemma by part of speech where they differ."""
        known = self._lemmas.get(token)
        if known is None:
            if self._lemma is not None:
                known = self._lemma(token)
            else:
                by_pos = {pos: self._lemma_as(token, pos) for pos in "nvar"}
                telling = {word if word in self._relevant else "" for word in by_pos.values()}
                known = by_pos if len(telling) > 1 else by_pos["n"]
            self._lemmas[token] = known
        return known
