"""What growing a vocabulary asks of WordNet."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tai_dpt.errors import InputError
from tai_dpt.labels.wordnet import wordnet

_ABUSE = re.compile(r"offensive|derogat|disparag|slur|obscene|vulgar|insult|contempt|racis|slang")
_POS = {"1": "n", "2": "v", "3": "a", "4": "r", "5": "a"}


@dataclass(frozen=True)
class Sense:
    """What one word can mean."""

    pos: str
    offset: int
    number: int  # 1 for the most frequent sense of this part of speech
    count: int  # how often it was met in the texts that WordNet's authors tagged


class Lexicon:
    """Senses of a word in order, and what lies under a sense.

    >>> [sense.number for sense in Lexicon().senses("dog", "n")]
    [1, 2, 3, 4, 5, 6, 7]
    """

    def __init__(self) -> None:
        self._corpus = wordnet()
        self._senses: dict[str, list[Sense]] = defaultdict(list)
        with self._corpus.open("index.sense") as stream:
            for line in stream:
                key, offset, number, count = line.split()
                lemma, _, rest = key.partition("%")
                sense = Sense(_POS[rest[0]], int(offset), int(number), int(count))
                self._senses[lemma.replace("_", " ")].append(sense)

    def senses(self, word: str, pos: str) -> list[Sense]:
        """The senses of a word as it stands (no lemmatising), the most frequent first."""
        return sorted(
            (s for s in self._senses.get(word, ()) if s.pos == pos), key=lambda s: s.number
        )

    def count(self, word: str, pos: str) -> int:
        return sum(sense.count for sense in self.senses(word, pos))

    def synset(self, sense: str) -> Any:
        """The synset of a name such as "dog.n.01"."""
        try:
            return self._corpus.synset(sense)
        except Exception:  # NLTK raises ValueError, WordNetError or KeyError for a bad name
            raise InputError(
                f"WordNet has no sense '{sense}'; senses are written like dog.n.01"
            ) from None

    def noun(self, offset: int) -> Any:
        return self._corpus.synset_from_pos_and_offset("n", offset)

    def under(self, synset: Any) -> dict[int, Any]:
        """The sense and every kind of it, by offset; names of individuals are no kinds."""
        found = {synset.offset(): synset}
        waiting = [synset]
        while waiting:
            for below in waiting.pop().hyponyms():
                if below.offset() not in found:
                    found[below.offset()] = below
                    waiting.append(below)
        return found

    @cached_property
    def _noun_phrases(self) -> tuple[str, ...]:
        return tuple(
            lemma
            for lemma, senses in self._senses.items()
            if 1 <= lemma.count(" ") <= 2 and any(sense.pos == "n" for sense in senses)
        )

    def phrases(self) -> tuple[str, ...]:
        """Every noun of two or three words."""
        return self._noun_phrases

    @cached_property
    def games(self) -> dict[int, Any]:
        """Sports and games, by offset."""
        found: dict[int, Any] = {}
        for sense in ("sport.n.01", "game.n.01"):
            found.update(self.under(self.synset(sense)))
        return found


def lemma_names(synset: Any) -> list[str]:
    """The words of a synset, but for names written with capitals and for terms of abuse.

    >>> lemma_names(Lexicon().synset("dog.n.01"))
    ['dog', 'domestic dog']
    """
    if _ABUSE.search(synset.definition()):
        return []
    names = [name.replace("_", " ") for name in synset.lemma_names()]
    return [name for name in names if name == name.lower()]


def present_participles(verb: str) -> list[str]:
    """The spellings of a verb's -ing form: "jog" gives joging and jogging, one of them a word.

    >>> present_participles("ride"), present_participles("jog")
    (['riding'], ['joging', 'jogging'])
    """
    if verb.endswith("e") and not verb.endswith(("ee", "oe", "ye")):
        return [f"{verb[:-1]}ing"]
    doubled = re.search(r"[^aeiou][aeiou][bdgklmnprt]$", verb)
    return [f"{verb}ing", f"{verb}{verb[-1]}ing"] if doubled else [f"{verb}ing"]
