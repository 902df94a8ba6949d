"""Captions for scenes from a small grammar.

A caption says most of what is in a scene, seldom all of it, in the words of the class list, with
places, adjectives and verbs around them that name no class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tai_dpt.emoji_scenes.classes import CLASSES, plural
from tai_dpt.emoji_scenes.scenes import STREAM_CAPTION, Scene

_UNSAID = 0.15  # chance that an object of a scene with several is not mentioned

PHOTOS = (
    *("photo", "photo", "photo", "photo", "picture", "picture", "image", "close-up", "snapshot"),
    *("close-up photo", "blurry photo", "bright photo", "dark photo", "nice picture"),
)
ADJECTIVES = (
    *("small", "big", "large", "little", "old", "new", "nice", "bright", "colorful", "lovely"),
    *("pretty", "shiny", "funny", "clean", "dirty", "beautiful", "strange", "simple"),
)
PLACES = (
    *("on a street", "in the street", "in a park", "in the kitchen", "on the table", "on a table"),
    *("at the beach", "in the snow", "on the grass", "in a field", "in the living room"),
    *("in the garden", "on the floor", "near a house", "outdoors", "outside", "in the city"),
    *("on a sunny day", "at night", "by the road", "in a room", "on the ground", "in the yard"),
    *("against a wall", "in the background", "near a window", "on a rainy day", "at home"),
)
VERBS = ("sitting", "standing", "seen", "shown", "resting", "lying", "placed", "left", "floating")
NEAR = ("next to", "near", "beside", "with", "and", "close to", "along with")
NUMBERS = ("two", "two", "two", "2", "a couple of", "some", "a few", "several")


@dataclass(frozen=True)
class Mention:
    """One class of a caption: how it is said and where its first object stands."""

    label: int
    text: str  # with its determiner or number: "a small dog", "two cars"
    bare: str  # without: "dog", "cars"
    many: bool
    x: float
    y: float


def _pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]


def _article(phrase: str) -> str:
    return "an" if phrase[0].lower() in "aeiou" else "a"


def _mention(scene: Scene, label: int, rng: np.random.Generator) -> Mention:
    """Say one class of the scene."""
    scene_class = CLASSES[label]
    objects = [placed for placed in scene.objects if placed.label == label]
    words = scene_class.fitting(objects[0].variant)
    # The name itself is the commonest word.
    word = words[0] if rng.random() < 0.6 else _pick(rng, words)
    adjective = _pick(rng, ADJECTIVES) + " " if rng.random() < 0.2 else ""
    many = len(objects) > 1
    if scene_class.pair:
        bare = word if word.endswith("s") else f"{word}s"
        text = f"{_pick(rng, NUMBERS)} {adjective}pairs of {bare}" if many else ""
        text = text or f"a {adjective}pair of {bare}"
    elif many:
        bare = plural(word, scene_class)
        text = f"{adjective}{bare}"
        if rng.random() < 0.8:
            text = f"{_pick(rng, NUMBERS)} {text}"
    else:
        bare = word
        text = f"{adjective}{word}"
        choice = rng.random()
        start = _article(text) if choice < 0.85 else "the" if choice < 0.93 else "one"
        text = f"{start} {text}"
    return Mention(label, text, bare, many, objects[0].x, objects[0].y)


def _listing(parts: Sequence[str]) -> str:
    """Join "a", "b", "c" to "a, b and c"."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _relation(first: Mention, second: Mention, rng: np.random.Generator) -> str:
    """How `first` stands to `second`: by place half of the time, else just near."""
    if rng.random() < 0.5:
        return _pick(rng, NEAR)
    across, down = second.x - first.x, second.y - first.y
    if abs(across) > abs(down):
        return "to the left of" if across > 0 else "to the right of"
    return _pick(rng, ("above", "over")) if down > 0 else _pick(rng, ("below", "under"))


def _sentence(mentions: Sequence[Mention], rng: np.random.Generator) -> str:
    """Put mentions into one of the sentence forms."""
    everything = _listing([mention.text for mention in mentions])
    place = f" {_pick(rng, PLACES)}" if rng.random() < 0.5 else ""
    form = rng.random()
    if form < 0.35:
        photo = _pick(rng, PHOTOS)
        start = f"{_article(photo)} {photo} of "
        return f"{start}{everything}{place if rng.random() < 0.4 else ''}"
    if form < 0.42:
        return ", ".join(mention.bare for mention in mentions)
    if form < 0.55:
        be = "are" if mentions[0].many else "is"
        return f"there {be} {everything}{place}"
    if form < 0.70:
        return f"{everything}{place}"
    first, rest = mentions[0], mentions[1:]
    verb = f" {_pick(rng, VERBS)}" if rng.random() < 0.5 else ""
    if not rest:
        return f"{first.text}{verb}{place}"
    link = _relation(first, rest[0], rng)
    if link == "and":
        verb = ""
    ending = f" {_listing([mention.text for mention in rest])}"
    return f"{first.text}{verb} {link}{ending}{place}"


def caption(scene: Scene, number: int = 0) -> tuple[str, tuple[int, ...]]:
    """Write caption `number` of a scene.

    Returns:
        The caption and the classes it mentions, sorted. The latter serves to check a noun filter,
        never to label captions.
    """
    rng = np.random.default_rng((scene.seed, scene.index, STREAM_CAPTION + number))
    labels = [label for label in scene.labels if rng.random() >= _UNSAID]
    labels = labels or [scene.labels[0]]
    labels = [labels[int(i)] for i in rng.permutation(len(labels))]
    mentions = [_mention(scene, label, rng) for label in labels]
    text = _sentence(mentions, rng)
    if rng.random() < 0.5:
        text = text[0].upper() + text[1:]
    if rng.random() < 0.5:
        text += "."
    return text, tuple(sorted(labels))


def all_words() -> list[str]:
    """Texts which together hold every word the grammar can produce."""
    nouns = [
        form
        for scene_class in CLASSES
        for word in scene_class.words
        for form in (word, plural(word, scene_class))
    ]
    others = (
        "there is are a an the one pair pairs of and , . to left right above over below under",
    )
    return [*nouns, *PHOTOS, *ADJECTIVES, *PLACES, *VERBS, *NEAR, *NUMBERS, *others]
