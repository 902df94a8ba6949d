"""Class vocabularies: what the prompts say, and the words that name a class in a caption."""

from __future__ import annotations

import hashlib
import json
import os
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from tai_dpt.errors import InputError, first_few, shorten, unknown
from tai_dpt.labels.name_entries import class_fields
from tai_dpt.labels.name_lines import class_lines, stated_language
from tai_dpt.labels.name_tables import class_table
from tai_dpt.labels.spelling import Names, english_letters, normalise, plain, readings

NAME_STYLES = ("paper", "readable")
YAML_ENDINGS = (".yaml", ".yml", ".json")  # JSON is YAML
_LONGEST = 200  # characters of a name or synonym
ENGLISH = "en"
# soft hyphens, breaks and joints of words, marks of direction; what joins letters is a part of them
_UNSEEN = dict.fromkeys(
    (0xAD, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), 0x2060, *range(0x2066, 0x206A), 0xFEFF)
)
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z0-9]+)*")


# the fields that have an entry for each class
_PER_CLASS = ("names", "synonyms", "dataset_names", "grown", "implied", "senses", "stop")


@dataclass(frozen=True)
class Vocabulary:
    """The classes of a task and the words for them.

    Args:
        names: what the prompts say, one a class; their order is the order of the classes.
        synonyms: the words and phrases of each class, as the paper's lists have them. The name
            itself is added in front where it is missing. Left out: the names alone.
        dataset_names: what the benchmark's own files call the classes; left out: ``names``.
        grown: further words of each class, found by WordNet (``tai-dpt grow-vocabulary``). Only
            the default noun filter reads these and the fields that follow.
        implied: words of each class that do not name it and imply it ("luggage": a suitcase), as
            far as labelled captions show (``tai-dpt grow-vocabulary --evidence``).
        blocked: phrases that contain a word of a class and name none ("bus stop").
        modifiers: words of classes that are adjectives too ("orange").
        verbs: words of classes that are verbs too ("book").
        senses: the WordNet sense of each class ("kite.n.03") from which ``grown`` comes; ""
            for the first sense of its name, "none" to grow nothing.
        stop: words of each class that ``grown`` must not have.
        language: of the captions, as "de" or "pt-br". Of English the noun filter knows plurals
            and more; in any other language it finds the words as they stand.

    Names and synonyms are compared by ``normalise``. What else captions may say for a name is
    one of its synonyms too: "kite" for "kite (bird of prey)", either word of "Monitor/TV"
    (``readings``); ``remarks`` says which. A synonym that two classes claim goes to the class
    whose name it is, else to the class that comes first, with a warning; a reading that two
    classes share goes to neither.

    Raises:
        InputError: no classes, a name that is empty, not text, too long or has control
            characters, names that are the same but for their spelling, or lists of different
            lengths.
    """

    names: tuple[str, ...]
    synonyms: tuple[tuple[str, ...], ...] = ()
    dataset_names: tuple[str, ...] = ()
    grown: tuple[tuple[str, ...], ...] = ()
    implied: tuple[tuple[str, ...], ...] = ()
    blocked: tuple[str, ...] = ()
    modifiers: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    senses: tuple[str, ...] = ()
    stop: tuple[tuple[str, ...], ...] = ()
    language: str = ENGLISH
    source: str = field(default="", compare=False)  # the file, for messages

    def __post_init__(self) -> None:
        where = f"{self.source}: " if self.source else ""
        if isinstance(self.names, str) or not len(self.names):
            raise InputError(f"{where}a vocabulary needs a list of at least one class name")
        for index, name in enumerate(self.names):
            _check_text(name, f"{where}class {index}", "needs a name, got")
        put = object.__setattr__  # the dataclass is frozen for everybody else
        put(self, "names", tuple(map(_as_prompted, self.names)))
        _check_distinct(self.names, "name", where)
        for attribute in (
            "synonyms",
            "dataset_names",
            "grown",
            "implied",
            "senses",
            "stop",
        ):
            given = getattr(self, attribute)
            if given and len(given) != len(self.names):
                raise InputError(
                    f"{where}{len(self.names)} class names but {len(given)} entries of {attribute}"
                )
        put(self, "dataset_names", tuple(self.dataset_names) or self.names)
        _check_distinct(self.dataset_names, "dataset_name", where)
        put(self, "senses", tuple(self.senses) or ("",) * len(self.names))
        for attribute in ("grown", "implied", "stop"):
            lists = tuple(map(tuple, getattr(self, attribute)))
            put(self, attribute, lists or ((),) * len(self.names))
        for attribute in ("blocked", "modifiers", "verbs"):
            put(self, attribute, tuple(getattr(self, attribute)))
        put(self, "synonyms", _settle(self.names, self.synonyms or ((),) * len(self.names), where))

        put(self, "language", _language(self.language, where))
        for attribute in ("modifiers", "verbs"):
            if getattr(self, attribute) and not self.english:
                raise InputError(
                    f"{where}{attribute} are for rules of English, and the language is "
                    f"'{self.language}': leave them out"
                )

    @property
    def english(self) -> bool:
        """Whether its words are English ones."""
        return self.language.split("-")[0] == ENGLISH

    def __len__(self) -> int:
        return len(self.names)

    def subset(self, columns: Sequence[int]) -> Vocabulary:
        """The classes at ``columns``, with all that belongs to them."""

        def chosen(values: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(values[column] for column in columns)

        values: dict[str, Any] = {name: chosen(getattr(self, name)) for name in _PER_CLASS}
        return replace(self, **values)

    def classes_of_phrases(self) -> dict[str, tuple[int, ...]]:
        """The classes of every phrase that captions are searched for; none of a blocked one.

        In the order of ``synonyms``, ``grown``, ``implied``, ``blocked``: where a matcher cannot
        tell two phrases apart, the first wins.
        """
        classes_of: dict[str, tuple[int, ...]] = {}
        for lists in (self.synonyms, self.grown, self.implied):
            for index, phrases in enumerate(lists):
                for phrase in phrases:
                    classes_of[phrase] = (*classes_of.get(phrase, ()), index)
        for phrase in self.blocked:
            classes_of.setdefault(phrase, ())
        return classes_of

    def fingerprint(self) -> str:
        """A hash of everything that decides labels: equal vocabularies, equal fingerprints."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.compare}
        if self.english:  # version 0.1 knew no other: the same vocabulary, the same hash
            del values["language"]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    def index_by_any_name(self) -> Names:
        """Class index by name: what the benchmark's files say first, then what the prompts say,
        then the synonyms."""
        names = [*enumerate(self.dataset_names), *enumerate(self.names)]
        names += [(i, phrase) for i, phrases in enumerate(self.synonyms) for phrase in phrases]
        return Names((name, index) for index, name in names)

    def remarks(self) -> list[str]:
        """What a user should know of the names before they are used, a line each."""
        lines = []
        read = [
            f"'{name}' is read as {' or '.join(map(repr, said))}"
            for name, phrases in zip(self.names, self.synonyms, strict=True)
            if (said := [part for part in _spoken(name) if part in phrases])
        ]
        if read:
            lines.append(f"in captions {first_few(read, 8, separator='; ')}")
        owner = self.index_by_any_name()
        for index, name in enumerate(self.names):
            said = _spoken(name)
            if not said or set(said) & set(self.synonyms[index]):
                continue
            others = [owner.get(part) for part in said]
            if all(other is None for other in others):
                reason = f"'{said[0]}' is what several classes are called"
            else:
                taken = ", ".join(f"'{self.names[i]}'" for i in others if i is not None)
                reason = f"{' or '.join(map(repr, said))} belongs to {taken}"
            lines.append(
                f"captions are not likely to name the class '{name}': {reason}; give it synonyms"
            )
        foreign = [name for name in self.names if not english_letters(name)]
        if foreign and self.english:
            lines.append(
                f"OpenAI's CLIP reads English: it knows little of {first_few(foreign)}; better "
                "give English names, and these as their synonyms; or say `language:` for a "
                "multilingual backbone"
            )
        return lines

    @classmethod
    def from_names(cls, names: Mapping[str, Sequence[str]] | Sequence[str]) -> Vocabulary:
        """From plain values: a list of names, or a mapping from name to synonyms.

        >>> Vocabulary.from_names({"dog": ["puppy"], "cat": []}).synonyms
        (('dog', 'puppy'), ('cat',))
        """
        if isinstance(names, Mapping):
            return cls(tuple(names), tuple(tuple(words) for words in names.values()))
        if isinstance(names, str):
            raise InputError(f"class names must be a list, got the text {names!r}")
        return cls(tuple(names))

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], *, names: str = "paper") -> Vocabulary:
        """Read a class list.

        ``.yaml``, ``.yml`` or ``.json``: a list whose items are names or ``{name, synonyms, …}``;
        a mapping from name to synonyms; or a mapping with such a list under ``classes`` beside
        ``language``, ``blocked``, ``modifiers`` and ``verbs``; other tools' lists, as
        ``class_fields`` reads them. Any other file: a table (see ``class_table``) or one name a
        line (see ``class_lines``); blank lines and comments, which begin with ``# ``, are skipped,
        but for ``# language: de``.

        Args:
            names: "paper" takes each class's ``name``, "readable" its ``readable`` where given.

        Raises:
            InputError: the file cannot be read or is not a class list; names file and place.
        """
        if names not in NAME_STYLES:
            raise unknown("style of class names", names, NAME_STYLES)
        path = Path(path)
        fields = class_fields(path, names) if path.suffix.lower() in YAML_ENDINGS else None
        others = zip(fields["names"], fields["synonyms"], strict=True) if fields else ()
        if names == "readable" and not any(name != words[0] for name, words in others):
            warnings.warn(f"{path}: no class has a readable name beside its name", stacklevel=2)
        if fields is not None:
            return cls(**fields, source=str(path))
        table = class_table(path)
        entries = class_lines(path) if table is None else list(table.items())
        return cls(
            tuple(name for name, _ in entries),
            tuple(words for _, words in entries),
            language=stated_language(path) or ENGLISH,
            source=str(path),
        )


def _check_text(value: Any, where: str, needs: str) -> None:
    """Raise InputError unless ``value`` is text that can be a name or a synonym."""
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where} {needs} {value!r}")
    strange = next((c for c in value if unicodedata.category(c) in ("Cc", "Cs") and c != "\t"), "")
    if strange:
        raise InputError(
            f"{where}: {shorten(value)!r} has the character U+{ord(strange):04X}, which is no text"
        )
    # joiners of no width, underscores, "???"; an emoji is a symbol
    if not any(unicodedata.category(c)[0] in "LNS" for c in plain(value)):
        raise InputError(f"{where}: {shorten(value)!r} has nothing in it that can be read")
    if len(value) > _LONGEST:
        raise InputError(
            f"{where}: '{shorten(value)}' has {len(value):,} characters, more than {_LONGEST}: no "
            "name of a class; write one name a line"
        )


def _as_prompted(name: str) -> str:
    """A name as prompts have it: composed, single blanks, nothing that only steers how a text is
    shown and would be encoded as a letter is."""
    shown = unicodedata.normalize("NFC", name.translate(_UNSEEN)) if not name.isascii() else name
    return " ".join(shown.split())


def _language(code: Any, where: str) -> str:
    """The code of a language in lower case; raises InputError unless it is one."""
    if not isinstance(code, str) or not _LANGUAGE.fullmatch(code.strip().lower()):
        hint = "; quote it in YAML, where a bare no is false" if code is False else ""
        raise InputError(f"{where}language is {code!r}; give a code like de or pt-br{hint}")
    return code.strip().lower()


def _check_distinct(names: Sequence[str], what: str, where: str) -> None:
    seen: dict[str, int] = {}
    for index, name in enumerate(names):
        other = seen.setdefault(normalise(name), index)
        if other != index:
            raise InputError(
                f"{where}two classes have the same {what} after lower-casing: "
                f"'{names[other]}' and '{name}' (classes {other} and {index}; hyphens and "
                "underscores are spaces); rename or remove one"
            )


def _tidy(phrase: str) -> str:
    """A synonym as it is kept: composed, lower case, single spaces."""
    return " ".join(unicodedata.normalize("NFC", phrase).lower().split())


def _spoken(name: str) -> list[str]:
    return [_tidy(part) for part in readings(name)]


def _settle(
    names: Sequence[str], synonyms: Sequence[Sequence[str]], where: str
) -> tuple[tuple[str, ...], ...]:
    """Give every phrase to one class: to the class of that name, else to the first."""
    owner = {normalise(name): index for index, name in enumerate(names)}
    for index, phrases in enumerate(synonyms):
        if isinstance(phrases, str):
            raise InputError(f"{where}synonyms of '{names[index]}' must be a list, got {phrases!r}")
        for phrase in phrases:
            _check_text(
                phrase,
                f"{where}a synonym of '{names[index]}'",
                "must be a word or phrase (quote it in YAML), it is",
            )
            owner.setdefault(normalise(phrase), index)
    said = Counter(part for name in names for part in set(map(normalise, _spoken(name))))
    settled: list[tuple[str, ...]] = []
    for index, (name, phrases) in enumerate(zip(names, synonyms, strict=True)):
        kept: dict[str, None] = {}
        if normalise(name) not in map(normalise, phrases):
            kept[_tidy(name)] = None
        for phrase in map(_tidy, phrases):
            holder = owner[normalise(phrase)]
            if holder == index:
                kept[phrase] = None
            else:
                warnings.warn(
                    f"{where}'{phrase}' is claimed by the classes '{names[holder]}' and "
                    f"'{name}'; it goes to '{names[holder]}' (the class of that name, "
                    "else the first)",
                    stacklevel=4,
                )
        for phrase in _spoken(name):
            if owner.get(normalise(phrase), index) == index and said[normalise(phrase)] == 1:
                kept[phrase] = None
        settled.append(tuple(kept))
    return tuple(settled)
