"""Vocabularies that grow by themselves: more words for each class, found in WordNet."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tai_dpt.errors import InputError
from tai_dpt.labels.default import FUNCTION_WORDS
from tai_dpt.labels.lemmas import singular
from tai_dpt.labels.lexicon import Lexicon, lemma_names, present_participles
from tai_dpt.labels.spelling import normalise
from tai_dpt.labels.vocabulary import Vocabulary

NO_SENSE = "none"

_PERSON = "noun.person"

_OFTEN = 2  # in WordNet's texts

_THINGS = {"noun.artifact", "noun.food", "noun.plant", "noun.animal", "noun.object"}
_THINGS_AND_PLACES = {"noun.artifact", "noun.object", "noun.location", "noun.substance"}


def grow(vocabulary: Vocabulary, *, report: Callable[[str], None] | None = None) -> Vocabulary:
    """The vocabulary with what WordNet adds to it for the default noun filter.

    * ``grown``: the kinds of a class — words whose first noun sense lies under the class's sense
      (sedan → car), unless another part of speech is the more frequent one; the riding ("skiing"
      → skis); the game that needs it, where it is the only class that game needs ("tennis" →
      tennis racket). Words under two classes go to the narrower one, and never to a class that
      they are not a synonym of; words for people only to classes of people, whatever a
      definition says of them ("domesticated by man"), and words that often are.
    * ``blocked``: nouns of two and three words that contain a class's word and are something
      else ("baseball team", "table tennis"), unless they are things or places: a train station
      has trains.
    * ``modifiers`` and ``verbs``: words of classes that are often adjectives, or verbs.

    The sense of a class is its ``senses`` entry ("none": do not grow), else the first sense of
    its name. ``stop`` lists words that a class must not get.

    Args:
        report: called with a line for each class: its sense, what it means, how many words.

    Raises:
        InputError: the vocabulary is not English, NLTK or its WordNet is missing, or a sense that
            WordNet does not have.

    >>> grow(Vocabulary(("dog",))).grown[0][:3]
    ('affenpinscher', 'basenji', 'basset')
    """
    if not vocabulary.english:
        where = f"{vocabulary.source}: " if vocabulary.source else ""
        raise InputError(
            f"{where}the language is '{vocabulary.language}', and WordNet is English: give the "
            "classes synonyms instead of growing them (no --grow, DATASET.CORPUS.GROW False)"
        )
    return _Growth(Lexicon(), vocabulary).result(report or (lambda line: None))


def with_growth(
    vocabulary: Vocabulary, *, wanted: bool, report: Callable[[str], None]
) -> Vocabulary:
    """``grow`` where it is wanted and the vocabulary has no grown words yet.

    Whoever labels captions asks here, so that growing is off everywhere unless asked for: it
    depends on data that are not always there.

    Args:
        report: called with what was grown, or a line that says that nothing was.

    Raises:
        InputError: growing is wanted, and NLTK's WordNet is missing.

    >>> with_growth(Vocabulary(("dog",)), wanted=False, report=lambda line: None).grown
    ((),)
    """
    if any(vocabulary.grown):
        if wanted:
            report("captions: the class list has grown words already; none are added")
        return vocabulary
    if wanted:
        return grow(vocabulary, report=report)
    if not vocabulary.english:
        report(f"captions ('{vocabulary.language}'): names and synonyms are read as they stand")
        return vocabulary
    report(
        "captions: classes are read off their names, synonyms and plurals alone; --grow (for "
        "training DATASET.CORPUS.GROW True) adds the kinds of each that WordNet knows"
    )
    return vocabulary


def choose_sense(lexicon: Lexicon, vocabulary: Vocabulary, index: int) -> str:
    """The sense the vocabulary gives the class, else the first noun sense of the first of its
    names and synonyms that WordNet knows; "none" where it knows none.

    >>> choose_sense(Lexicon(), Vocabulary(("dog",)), 0)
    'dog.n.01'
    """
    if vocabulary.senses[index]:
        return vocabulary.senses[index]
    names = (vocabulary.dataset_names[index], vocabulary.names[index])
    for word in (*(name.lower() for name in names), *vocabulary.synonyms[index]):
        for form in (word, singular(word)):
            senses = lexicon.senses(form, "n")
            if senses:
                return str(lexicon.noun(senses[0].offset).name())
    return NO_SENSE


class _Growth:
    """One run of ``grow``; the attributes are what its steps share."""

    def __init__(self, lexicon: Lexicon, vocabulary: Vocabulary) -> None:
        self.lexicon = lexicon
        self.vocabulary = vocabulary
        self.senses = [choose_sense(lexicon, vocabulary, i) for i in range(len(vocabulary))]
        self.synsets = [
            None if sense == NO_SENSE else lexicon.synset(sense) for sense in self.senses
        ]
        self.kinds = [{} if s is None else lexicon.under(s) for s in self.synsets]
        person = lexicon.synset("person.n.01").offset()
        self.people = {
            index
            for index, synset in enumerate(self.synsets)
            if synset is not None
            and (person == synset.offset() or synset.lexname() in (_PERSON, "noun.group"))
        }
        self.owner: dict[str, int] = {}  # of every spelling of a synonym
        for index, phrases in enumerate(vocabulary.synonyms):
            for phrase in phrases:
                for spelling in (phrase, phrase.replace(" ", ""), _singular_phrase(phrase)):
                    self.owner.setdefault(spelling, index)
        self.grown: list[set[str]] = [set() for _ in vocabulary.names]

    def result(self, report: Callable[[str], None]) -> Vocabulary:
        self._add_kinds()
        for index, synset in enumerate(self.synsets):
            if synset is not None:
                self._add_riding(index, synset)
                self._add_users(synset)
                self._add_heads(index, synset)
        self._add_games()
        for index, stopped in enumerate(self.vocabulary.stop):
            self.grown[index] -= set(stopped)
        blocked = self._blocked()
        self._forget_redundant()
        for index, (name, synset) in enumerate(
            zip(self.vocabulary.names, self.synsets, strict=True)
        ):
            if synset is None:
                report(f"{name}: no sense, not grown")
            else:
                count = len(self.grown[index])
                report(f"{name}: {synset.name()} ({synset.definition()}), {count} words")
        return replace(
            self.vocabulary,
            senses=tuple(self.senses),
            grown=tuple(tuple(sorted(words)) for words in self.grown),
            blocked=tuple(blocked),
            modifiers=tuple(self._often("a", 0.5)),
            verbs=tuple(self._often("v", 0.02)),
        )

    def _add(self, index: int, word: str) -> None:
        if self.owner.get(word, index) != index or word in self.vocabulary.synonyms[index]:
            return
        if index in self.people or not self._is_person(word):
            self.grown[index].add(word)

    def _is_person(self, word: str) -> bool:
        """Whether a word means people first of all, or often ("a male", "commuters")."""
        senses = self.lexicon.senses(word, "n")
        people = [self.lexicon.noun(sense.offset).lexname() == _PERSON for sense in senses]
        often = sum(
            sense.count for sense, of_people in zip(senses, people, strict=True) if of_people
        )
        total = sum(sense.count for sense in senses)
        return people[:1] == [True] or (often >= _OFTEN and often >= total / 6)

    def _add_kinds(self) -> None:
        taken: set[str] = set()
        for index in sorted(range(len(self.kinds)), key=lambda i: len(self.kinds[i])):
            words = {word for synset in self.kinds[index].values() for word in lemma_names(synset)}
            for word in words - taken:
                if len(word) > 2 and word not in FUNCTION_WORDS and self._means(word, index):
                    self._add(index, word)
                    taken.add(word)

    def _means(self, word: str, index: int) -> bool:
        """Whether the word, met in a caption, most likely means a kind of the class."""
        senses = self.lexicon.senses(word, "n")
        kinds = self.kinds[index]
        if not senses or senses[0].offset not in kinds:
            return False
        if " " in word:
            return True
        nouns = sum(sense.count for sense in senses)
        if self.lexicon.count(word, "v") + self.lexicon.count(word, "a") > nouns:
            return False
        if all(sense.offset in kinds for sense in senses):
            return True
        return senses[0].count >= max(1, nouns / 2)

    def _is_first(self, word: str, synset: Any) -> bool:
        senses = self.lexicon.senses(word, str(synset.pos()))
        return bool(senses) and senses[0].offset == synset.offset()

    def _add_riding(self, index: int, synset: Any) -> None:
        """The going by it: derived from the class's own names."""
        names = {
            spelling
            for phrase in (*self.vocabulary.synonyms[index], self.vocabulary.dataset_names[index])
            for spelling in (phrase.lower(), phrase.lower().replace(" ", ""))
            for spelling in (spelling, singular(spelling))
        }
        for lemma in synset.lemmas():
            if lemma.name().lower().replace("_", " ") not in names:
                continue
            for derived in lemma.derivationally_related_forms():
                form = derived.synset()
                if not self._is_first(derived.name().lower(), form):
                    continue
                if form.lexname() in ("verb.motion", "verb.competition"):
                    for verb in form.lemmas():
                        self._add_verb(index, verb, form)

    def _add_verb(self, index: int, verb: Any, synset: Any) -> None:
        name = verb.name().lower()
        if "_" in name or not self._is_first(name, synset):
            return
        for form in present_participles(name):
            self._add(index, form)

    def _add_users(self, synset: Any) -> None:
        """Whose tool it is by its definition, as a word for people: "used by the batter"."""
        for word in re.findall(r"\bby (?:the |a |an )?([a-z]+)", synset.definition()):
            word = singular(word)
            senses = self.lexicon.senses(word, "n")
            if senses and self._is_person(word):
                for other, kinds in enumerate(self.kinds):
                    if senses[0].offset in kinds:
                        self._add(other, word)

    def _add_heads(self, index: int, synset: Any) -> None:
        """ "tennis racket" under racket, racquet: also "tennis racquet"."""
        for name in synset.lemma_names():
            first, _, second = name.lower().partition("_")
            for above in synset.hypernyms():
                heads = [head.lower() for head in above.lemma_names()]
                if second in heads:
                    for head in heads:
                        if "_" not in head:
                            self._add(index, f"{first} {head}")

    def _add_games(self) -> None:
        """The game that the definition of exactly one class names, alone and in phrases.

        A class of a word alone ("glove") is not a game's, whatever its sense is.
        """
        games: dict[str, set[int]] = defaultdict(set)
        for index, synset in enumerate(self.synsets):
            named = (self.vocabulary.dataset_names[index], *self.vocabulary.synonyms[index])
            if synset is None or not any(" " in normalise(name) for name in named):
                continue
            for word in re.findall(
                r"(?:(?<=play )|(?<=playing )|(?<=in ))([a-z]+)", synset.definition()
            ):
                senses = self.lexicon.senses(word, "n")
                if senses and senses[0].offset in self.lexicon.games:
                    games[word].add(index)
        for word, classes in games.items():
            if len(classes) == 1:
                (index,) = classes
                self.grown[index].add(word)  # beside the class that has it as a synonym
                starts = f"{word} "
                for phrase in self.lexicon.phrases():
                    if phrase.startswith(starts) and phrase not in self.owner:
                        self._add(index, phrase)

    def _blocked(self) -> list[str]:
        words: dict[str, set[int]] = defaultdict(set)
        for index in range(len(self.vocabulary)):
            for word in (*self.vocabulary.synonyms[index], *self.grown[index]):
                words[word].add(index)
        blocked = []
        for phrase in self.lexicon.phrases():
            if phrase in words or phrase in self.owner:
                continue
            parts = phrase.split()
            inside = {
                index
                for start in range(len(parts))
                for end in range(start + 1, len(parts) + 1)
                for part in (" ".join(parts[start:end]), singular(" ".join(parts[start:end])))
                for index in words.get(part, ())
            }
            sense = self.lexicon.senses(phrase, "n")[0]
            synset = self.lexicon.noun(sense.offset)
            if (
                inside
                and not any(sense.offset in self.kinds[index] for index in inside)
                and synset.lexname() not in _THINGS_AND_PLACES
                and phrase in lemma_names(synset)
                and not self._is_adjective(parts[0])
                and not (self._is_grown(parts[-1]) and self._is_kind_of(synset, parts[-1]))
            ):
                blocked.append(phrase)
        return sorted(blocked)

    def _is_grown(self, word: str) -> bool:
        return word not in self.owner and any(word in grown for grown in self.grown)

    def _is_kind_of(self, synset: Any, word: str) -> bool:
        """Whether a sense lies under what a word means first: cross-country skiing is skiing."""
        senses = self.lexicon.senses(word, "n")
        above = {higher.offset() for path in synset.hypernym_paths() for higher in path}
        return bool(senses) and senses[0].offset in above

    def _is_adjective(self, word: str) -> bool:
        adjective = self.lexicon.count(word, "a")
        return bool(self.lexicon.senses(word, "a")) and adjective >= self.lexicon.count(word, "n")

    def _forget_redundant(self) -> None:
        """Drop the phrases whose last word says as much, and that hide no other class's word."""
        owners: dict[str, set[int]] = defaultdict(set)
        for index in range(len(self.vocabulary)):
            for phrase in (*self.vocabulary.synonyms[index], *self.grown[index]):
                owners[phrase].add(index)
        for index, words in enumerate(self.grown):
            for phrase in [word for word in words if " " in word]:
                *before, last = phrase.split()
                if owners[phrase] == {index} == owners.get(last) and not any(
                    owners.get(word) or owners.get(singular(word)) for word in before
                ):
                    words.discard(phrase)

    def _often(self, pos: str, share: float) -> list[str]:
        """The synonyms of classes of things that are often another part of speech."""
        found = []
        for synset, phrases in zip(self.synsets, self.vocabulary.synonyms, strict=True):
            if synset is None or synset.lexname() not in _THINGS:
                continue
            for word in phrases:
                other = self.lexicon.count(word, pos)
                if self.lexicon.senses(word, pos) and other >= share * self.lexicon.count(
                    word, "n"
                ):
                    found.append(word)
        return sorted(set(found))


def _singular_phrase(phrase: str) -> str:
    *before, last = phrase.split()
    return " ".join([*before, singular(last)])
