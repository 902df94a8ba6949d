"""The default preset: one trie of phrases over singular words, and rules for the context."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any

from tai_dpt.labels.lemmas import word_set
from tai_dpt.labels.spelling import WithinText, bare, found_within, plain, spellings, words
from tai_dpt.labels.vocabulary import Vocabulary

_TOKEN = re.compile(r"\w+|[^\w\s]")
_CLASSES = ""  # the key under which a node of the trie keeps its classes: no token is empty


# Closed lists of English, the same for every vocabulary.
COLOURS = word_set(
    "black white grey gray red green blue yellow orange brown purple pink beige tan gold golden "
    "silver turquoise violet"
)
_DETERMINERS = word_set(
    "a an the this that these those his her its their my your our some any each every another no "
    "two three four five six seven eight nine ten several many few both all one"
)
_PREPOSITIONS = word_set(
    "of in on at by with from to for into onto over under above below near beside besides next "
    "behind between among around along across through against inside outside off up down out "
    "about after before during like as atop upon toward towards past underneath beneath within "
    "without"
)
_AUXILIARIES = word_set(
    "is are was were be been being am has have had do does did can could will would may might "
    "must shall should"
)
_JOINING = word_set("and or but that which who while where when with as than so if because nor")
FUNCTION_WORDS = _DETERMINERS | _PREPOSITIONS | _AUXILIARIES | _JOINING
_NO_PLURALS = FUNCTION_WORDS | word_set("us yes gas bus")  # but what looks like a plural
_BEFORE_VERB = word_set(
    "i you he she we they it who which will would can could may might must shall should not "
    "don't t cannot let lets"
)
_NEAR = word_set("next close closer up adjacent attached due similar")  # "next to people"
_BEFORE_COLOUR = word_set("in is are was were very bright dark light pale deep wearing painted")
_OBJECTS = word_set("a an the this his her its their my your our him them it me us you")
_SIDES = word_set("left right")
_SHADES = word_set("bright dark light pale deep")
_AFTER_NOUN = word_set(  # "an orange left on a table"
    "left placed put set kept laid outdoors indoors nearby here there together alone apart"
)
_BESIDE_SIDE = word_set("next behind beside in on by here there side hand handed")


# nouns that captions also have as verbs, for class lists without ``modifiers`` and ``verbs``
_VERBS = word_set(
    "backpack ball bat bear bench bike book bridge brush camp can clock cloud coach coast comb "
    "couch cup cycle dog dress drum duck fan fence fish flag flower fly fork garden grass guard "
    "guide hammer hook hose house iron jet kite lock map monitor mop nail nurse paint park "
    "phone pilot plane plant plug pump purse ring rock rose sail saw screw seal shovel sign "
    "sink skate skateboard ski snowboard stamp surfboard swing tape tattoo taxi tie tower train "
    "trap truck vacuum watch whip"
)


def _adjectives(phrases: Container[str]) -> tuple[str, ...]:
    """Common words for ``modifiers``: "orange", unless the classes are colours."""
    others = COLOURS - {"orange", "gold", "golden", "silver"}
    return () if any(colour in phrases for colour in others) else ("orange",)


class DefaultMatcher:
    """Finds the words and phrases of a vocabulary, the longest first, and weighs each one.

    A stretch of the caption is used once. A match counts for nothing where it is

    * a phrase on the vocabulary's list of blocked ones ("bus stop"),
    * followed at once by a word of another class, not of people: it then says what kind ("baby
      elephant", "orange cat"; but "motorcycle cop"),
    * one of the vocabulary's adjectives, used as one ("orange shirt", "bright orange"),
    * one of the vocabulary's verbs, used as one ("to book a table", "the road bears right"); where
      it names neither, some common ones stand in for both.

    A name of two words also counts where they stand apart ("a tennis player swings a racket"),
    unless the second word names another class ("hot dog").
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        lemma: Callable[[str], str],
        max_tokens: int | None,
    ) -> None:
        self._lemma = lemma
        self._max_tokens = max_tokens
        self._trie: dict[str, Any] = {}
        self._words: set[str] = set()  # the keys in it, of every depth
        classes_of = vocabulary.classes_of_phrases()
        within = {phrase for phrase in classes_of if found_within(phrase)}
        own = {phrase for phrases in vocabulary.synonyms for phrase in phrases}
        matched = [phrase for phrase in classes_of if phrase not in within]
        for phrase in matched:
            spelling = words(phrase)
            if phrase not in own and not FUNCTION_WORDS.isdisjoint(spelling):
                spelling = _TOKEN.findall(plain(phrase))  # "has-been" is not "has been"
            self._add(spelling, classes_of[phrase])
        for phrase in matched:
            for spelling in spellings(phrase, apart=phrase in own):
                self._add(spelling, classes_of[phrase])
        self._within = WithinText({phrase: classes_of[phrase] for phrase in within})
        modifiers, verbs = vocabulary.modifiers, vocabulary.verbs
        if not modifiers and not verbs:  # a list that says nothing of this
            modifiers, verbs = _adjectives(classes_of), tuple(_VERBS)
        self._modifiers = {lemma(word) for word in modifiers}
        self._verbs = {lemma(word) for word in verbs}
        self._apart = self._pairs(vocabulary)
        self._people = {
            index
            for index, phrases in enumerate(vocabulary.synonyms)
            if not {"person", "people"}.isdisjoint(phrases)
        }
        self._keys: dict[str, str] = {}

        for phrase in sorted(own.intersection(matched)) if vocabulary.english else ():
            for spelling in (words(phrase), *spellings(phrase, apart=False)):
                if (plural := self._unread_plural(spelling)) is not None:
                    self._add(plural, classes_of[phrase])

    def _unread_plural(self, spelling: list[str]) -> list[str] | None:
        """The plural in -s of which the lemmatiser does not find the singular ("gurus")."""
        *before, last = spelling
        plural = f"{last}s"
        known = last.endswith("s") or not last.isalnum() or len(last) + len(before) < 2
        if known or plural in _NO_PLURALS or self._lemma(plural) == self._lemma(last):
            return None
        return [*before, plural]

    def _add(self, spelling: Iterable[str], classes: tuple[int, ...]) -> None:
        node = self._trie
        for word in map(self._lemma, spelling):
            self._words.add(word)
            node = node.setdefault(word, {})
        node.setdefault(_CLASSES, classes)

    def _pairs(self, vocabulary: Vocabulary) -> dict[str, list[tuple[str, int]]]:
        """Second word -> (first word, class) of the names of two words."""
        pairs: dict[str, list[tuple[str, int]]] = {}
        for index, phrases in enumerate(vocabulary.synonyms):
            for phrase in phrases:
                parts = [self._lemma(word) for word in plain(phrase).split()]
                if len(parts) != 2:
                    continue
                named = self._trie.get(parts[1], {}).get(_CLASSES)
                if named is None:
                    pairs.setdefault(parts[1], []).append((parts[0], index))
        return pairs

    def __call__(self, caption: str) -> tuple[int, ...]:
        text = plain(caption)
        tokens, keys = self._read(text)
        found = self._within.classes(text)
        spans = self._spans(keys)
        follows = -1  # where the match to the right begins, and its classes
        following: tuple[int, ...] = ()
        for start, end, classes in reversed(spans):
            # "baby elephant": the second word says what it is, the first what kind
            is_kind = end == follows and not tokens[follows].endswith("ing")
            if is_kind and following and self._people.isdisjoint(following):
                found.update(set(classes).intersection(following))
            elif end - start > 1 or not self._is_other_word(tokens, keys, start):
                found.update(classes)
            follows, following = start, classes
        if not self._apart.keys().isdisjoint(keys):
            for at, key in enumerate(keys):
                for first, index in self._apart.get(key, ()):
                    # side by side they are a phrase, found above unless it lost to a longer one
                    if first in keys and not (at and keys[at - 1] == first):
                        found.add(index)
        return tuple(sorted(found))

    def _read(self, text: str) -> tuple[list[str], list[str]]:
        """Words and marks of a text, and their keys in the trie."""
        known = self._keys
        tokens = (f"{text[:-1]} ." if text.endswith(".") else text).split()
        try:  # most captions are words that were met before, parted by spaces
            keys = [known[token] for token in tokens]
        except KeyError:
            tokens = _TOKEN.findall(text)
            for token in tokens:
                if token not in known:
                    known[token] = self._key(token)
            keys = [known[token] for token in tokens]
        return tokens[: self._max_tokens], keys[: self._max_tokens]

    def _key(self, token: str) -> str:
        """The lemma; without its accents where only that is a word of the vocabulary."""
        lemma = self._lemma(token)
        if lemma in self._words or token.isascii():
            return lemma
        without = self._lemma(bare(token))
        return without if without in self._words else lemma

    def _spans(self, keys: Sequence[str]) -> list[tuple[int, int, tuple[int, ...]]]:
        """The matches (start, end, classes) that remain when the longest go first."""
        trie = self._trie
        spans: list[tuple[int, int, tuple[int, ...]]] = []
        overlap = False
        reached = 0
        count = len(keys)
        for start, first in enumerate(map(trie.get, keys)):
            if first is None:
                continue
            branches = [(first, start + 1)]
            while branches:
                node, at = branches.pop()
                while node is not None:
                    classes = node.get(_CLASSES)
                    if classes is not None:
                        overlap = overlap or start < reached
                        reached = max(reached, at)
                        spans.append((start, at, classes))
                        overlap = overlap or (len(spans) > 1 and spans[-2][0] == start)
                    if at < count - 1 and keys[at] == "-":
                        at += 1
                        if "-" in node and keys[at] in node["-"]:
                            branches.append((node["-"][keys[at]], at + 1))
                    if at == count:
                        break
                    node = node.get(keys[at])
                    at += 1
        if overlap:
            taken: list[tuple[int, int, tuple[int, ...]]] = []
            for span in sorted(spans, key=lambda s: (s[0] - s[1], s[0])):
                if all(span[1] <= other[0] or other[1] <= span[0] for other in taken):
                    taken.append(span)
            spans = sorted(taken)
        return spans

    def _is_other_word(self, tokens: Sequence[str], keys: Sequence[str], at: int) -> bool:
        """Whether the word is an adjective or a verb here and no noun."""
        key = keys[at]
        before = tokens[at - 1] if at else ""
        after = tokens[at + 1] if at + 1 < len(tokens) else ""
        then = tokens[at + 2] if at + 2 < len(tokens) else ""
        if key in self._modifiers and tokens[at] == key:
            shaded = before in _SHADES and at > 1 and tokens[at - 2] in _DETERMINERS
            if shaded and after in _PREPOSITIONS:  # "a bright orange on a table"
                return False
            if before in _BEFORE_COLOUR or before in COLOURS:
                return True
            if after in ("and", "or", ",") and (then in COLOURS):
                return True
            if before in ("and", "or") and at > 1 and tokens[at - 2] in COLOURS:
                return True
            ends = after in FUNCTION_WORDS or after in _AFTER_NOUN or after.endswith("ing")
            if after.isalpha() and not ends:  # else the noun's phrase ends here: it is the noun
                return True
        if key in self._verbs:
            if before in _BEFORE_VERB:
                return True
            if before == "to" and tokens[at] == key and (at < 2 or tokens[at - 2] not in _NEAR):
                return True
            # "two clocks left below a mouse": things that are left there
            placed = then in _BESIDE_SIDE or (after == "left" and then in _PREPOSITIONS)
            if after in _SIDES and tokens[at] != key and not placed:
                return True
            if after in _OBJECTS and (not before or before in ("and", "then")):
                return True
        return False
