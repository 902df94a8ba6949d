"""What labelled captions teach a vocabulary: words that mislead, and words that imply a class.

Evidence is captions with the classes that are really in their images.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import NamedTuple

from tai_dpt.errors import InputError
from tai_dpt.labels.default import COLOURS, FUNCTION_WORDS
from tai_dpt.labels.filter import NounFilter
from tai_dpt.labels.lemmas import singular
from tai_dpt.labels.spelling import words
from tai_dpt.labels.vocabulary import Vocabulary

_STOP_CAPTIONS = 3
_STOP_PRECISION = 0.5
_IMPLIED_IMAGES = 4
_IMPLIED_PRECISION = 0.7  # the lower end of what the images seen allow, see `_at_least`


class Evidence(NamedTuple):
    """A caption and the classes in its image."""

    caption: str
    image: int | str
    classes: frozenset[int]


def in_terms_of(
    vocabulary: Vocabulary, evidence: list[Evidence], theirs: Vocabulary
) -> tuple[list[Evidence], set[int]]:
    """Evidence of another vocabulary's classes as that of the classes of the same name, and
    which these are.

    Raises:
        InputError: the evidence has classes that ``theirs`` has not.

    >>> row = Evidence("a car", 1, frozenset({1}))
    >>> in_terms_of(Vocabulary(("car",)), [row], Vocabulary(("dog", "car")))
    ([Evidence(caption='a car', image=1, classes=frozenset({0}))], {0})
    """
    last = max((index for row in evidence for index in row.classes), default=0)
    if last >= len(theirs):
        raise InputError(
            f"the evidence speaks of class {last}, and its class list has {len(theirs)}, counted "
            "from 0; name the list with --evidence-classes"
        )
    index = theirs.index_by_any_name()
    ours: dict[int, int] = {}
    for at in range(len(vocabulary)):
        for name in (vocabulary.dataset_names[at], *vocabulary.synonyms[at]):
            if (other := index.get(name)) is not None:
                ours.setdefault(other, at)
    rows = [
        row._replace(classes=frozenset(ours[index] for index in row.classes if index in ours))
        for row in evidence
    ]
    return rows, set(ours.values())


def earn_stop_list(vocabulary: Vocabulary, evidence: Collection[Evidence]) -> list[list[str]]:
    """Per class the grown words that are wrong more often than right, met three times or more.

    A word is judged only where no other grown word of its class is in the caption.

    >>> vocabulary = Vocabulary(("person",), grown=(("planter", "boy"),))
    >>> seen = [("a planter", ()), ("a boy", {0})] * 3
    >>> rows = [Evidence(text, at, frozenset(shown)) for at, (text, shown) in enumerate(seen)]
    >>> earn_stop_list(vocabulary, rows)
    [['planter']]
    """
    counts: dict[tuple[int, str], list[int]] = {}
    forms: dict[str, list[tuple[int, str]]] = {}
    for index, grown in enumerate(vocabulary.grown):
        for word in grown:
            if " " not in word:
                forms.setdefault(singular(word), []).append((index, word))
    labels = NounFilter(vocabulary=vocabulary).labels([row.caption for row in evidence])
    for (caption, _, truth), found in zip(evidence, labels, strict=True):
        met = {singular(word) for word in words(caption)}
        named: dict[int, list[str]] = {}
        for form in met:
            for index, word in forms.get(form, ()):
                if index in found:
                    named.setdefault(index, []).append(word)
        for index, suspects in named.items():
            if len(suspects) == 1:
                counts.setdefault((index, suspects[0]), [0, 0])[index in truth] += 1
    stop: list[list[str]] = [[] for _ in vocabulary.names]
    for (index, word), (wrong, right) in sorted(counts.items()):
        if wrong + right >= _STOP_CAPTIONS and right < _STOP_PRECISION * (wrong + right):
            stop[index].append(word)
    return stop


def earn_implied(
    vocabulary: Vocabulary, evidence: Collection[Evidence], *, known: Collection[int]
) -> tuple[tuple[str, ...], ...]:
    """Per class the words and pairs of words that imply it: "luggage" a suitcase.

    A word implies a class where the images of captions that have it and do not name the class
    show it, in at least four images and so often that the true share is not likely below 0.7. The
    words of most images come first; the others must hold in what those leave.

    Args:
        known: the classes that the evidence knows of; others get no words.

    >>> suitcase = Vocabulary(("suitcase", "dog"))
    >>> rows = [Evidence("piles of luggage", image, frozenset({0})) for image in range(9)]
    >>> earn_implied(suitcase, rows, known={0})[0]
    ('luggage',)
    """
    without = replace(vocabulary, implied=())
    labels = NounFilter(vocabulary=without).labels([row.caption for row in evidence])
    rows = list(evidence)
    found = [set(labels_of) for labels_of in labels]
    own = [
        {singular(word) for name in names for word in words(name)} for names in vocabulary.synonyms
    ]
    met: dict[str, list[int]] = defaultdict(list)
    for at, row in enumerate(rows):
        for phrase in set(_phrases(row.caption)):
            met[phrase].append(at)

    def images(phrase: str, index: int) -> dict[int | str, bool]:
        return {
            rows[at].image: index in rows[at].classes
            for at in met[phrase]
            if index not in found[at]
        }

    def implies(shown: Collection[bool]) -> bool:
        enough = len(shown) >= _IMPLIED_IMAGES
        return enough and _at_least(sum(shown), len(shown)) >= _IMPLIED_PRECISION

    candidates = [
        (sum(shown), phrase, index)
        for phrase in met
        if len({rows[at].image for at in met[phrase]}) >= _IMPLIED_IMAGES
        for index in known
        if phrase not in own[index]  # the filter knows better when that counts
        if implies(shown := images(phrase, index).values())
    ]
    implied: list[list[str]] = [[] for _ in vocabulary.names]
    for _, phrase, index in sorted(candidates, key=lambda item: (-item[0], item[1], item[2])):
        if implies(images(phrase, index).values()):
            implied[index].append(phrase)
            for at in met[phrase]:
                found[at].add(index)
    return tuple(tuple(sorted(phrases)) for phrases in implied)


def _phrases(caption: str) -> Iterator[str]:
    """The words of a caption that are no function words or colours, and pairs side by side."""
    before = ""
    for word in map(singular, words(caption)):
        telling = word.isalpha() and len(word) > 2 and word not in FUNCTION_WORDS
        if telling and word not in COLOURS:
            yield word
        if telling and before:
            yield f"{before} {word}"
        before = word if telling else ""


def _at_least(right: int, count: int) -> float:
    """Wilson's lower bound of a share, one standard deviation down."""
    share = right / count
    spread = math.sqrt(share * (1 - share) / count + 1 / (4 * count**2))
    return (share + 1 / (2 * count) - spread) / (1 + 1 / count)
