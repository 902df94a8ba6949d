"""Class vocabularies: what the prompts say, and the words that name a class in a caption."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from tai_dpt.errors import InputError, unknown
from tai_dpt.io.reading import read_yaml
from tai_dpt.io.text import read_lines

NAME_STYLES = ("paper", "readable")


def normalise(phrase: str) -> str:
    """Lower case, single spaces: the form in which names and synonyms are compared."""
    return " ".join(phrase.lower().split())


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
        blocked: phrases that contain a word of a class and name none ("bus stop").
        modifiers: words of classes that are adjectives too ("orange").
        verbs: words of classes that are verbs too ("book").
        senses: the WordNet sense of each class ("kite.n.03") from which ``grown`` comes; ""
            for the first sense of its name, "none" to grow nothing.
        stop: words of each class that ``grown`` must not have.

    A synonym that two classes claim goes to the class whose name it is, else to the class that
    comes first, with a warning.

    Raises:
        InputError: no classes, an empty name, names that collide after lower-casing, or lists of
            different lengths.
    """

    names: tuple[str, ...]
    synonyms: tuple[tuple[str, ...], ...] = ()
    dataset_names: tuple[str, ...] = ()
    grown: tuple[tuple[str, ...], ...] = ()
    blocked: tuple[str, ...] = ()
    modifiers: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    senses: tuple[str, ...] = ()
    stop: tuple[tuple[str, ...], ...] = ()
    source: str = field(default="", compare=False)  # the file, for messages

    def __post_init__(self) -> None:
        where = f"{self.source}: " if self.source else ""
        if isinstance(self.names, str) or not len(self.names):
            raise InputError(f"{where}a vocabulary needs a list of at least one class name")
        for index, name in enumerate(self.names):
            if not isinstance(name, str) or not name.strip():
                raise InputError(f"{where}class {index} needs a name, got {name!r}")
        put = object.__setattr__  # the dataclass is frozen for everybody else
        put(self, "names", tuple(name.strip() for name in self.names))
        _check_distinct(self.names, where)
        for attribute in ("synonyms", "dataset_names", "grown", "senses", "stop"):
            given = getattr(self, attribute)
            if given and len(given) != len(self.names):
                raise InputError(
                    f"{where}{len(self.names)} class names but {len(given)} entries of {attribute}"
                )
        put(self, "dataset_names", tuple(self.dataset_names) or self.names)
        put(self, "senses", tuple(self.senses) or ("",) * len(self.names))
        for attribute in ("grown", "stop"):
            lists = tuple(map(tuple, getattr(self, attribute)))
            put(self, attribute, lists or ((),) * len(self.names))
        for attribute in ("blocked", "modifiers", "verbs"):
            put(self, attribute, tuple(getattr(self, attribute)))
        put(self, "synonyms", _settle(self.names, self.synonyms or ((),) * len(self.names), where))

    def __len__(self) -> int:
        return len(self.names)

    def fingerprint(self) -> str:
        """A hash of everything that decides labels: equal vocabularies, equal fingerprints."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.compare}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    def index_by_any_name(self) -> dict[str, int]:
        """Class index by lower-case name: what the benchmark's files say first, then what the
        prompts say, then the synonyms."""
        index: dict[str, int] = {}
        for names in (self.dataset_names, self.names):
            for i, name in enumerate(names):
                index.setdefault(normalise(name), i)
        for i, phrases in enumerate(self.synonyms):
            for phrase in phrases:
                index.setdefault(phrase, i)
        return index

    @classmethod
    def from_names(cls, names: Mapping[str, Sequence[str]] | Sequence[str]) -> Vocabulary:
        """From plain values: a list of names, or a mapping from name to synonyms."""
        if isinstance(names, Mapping):
            return cls(tuple(names), tuple(tuple(words) for words in names.values()))
        if isinstance(names, str):
            raise InputError(f"class names must be a list, got the text {names!r}")
        return cls(tuple(names))

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], *, names: str = "paper") -> Vocabulary:
        """Read a class list.

        ``.yaml``/``.yml``: a list whose items are names or ``{name, synonyms, …}``; a mapping
        from name to synonyms; or a mapping with such a list under ``classes`` beside ``blocked``,
        ``modifiers`` and ``verbs``. Any other file: one name a line; blank lines and lines that
        begin with ``#`` are skipped.

        Args:
            names: "paper" takes each class's ``name``, "readable" its ``readable`` where given.

        Raises:
            InputError: the file cannot be read or is not a class list; names file and place.
        """
        if names not in NAME_STYLES:
            raise unknown("style of class names", names, NAME_STYLES)
        path = Path(path)
        if path.suffix.lower() in (".yaml", ".yml"):
            return _from_yaml(path, names)
        listed = [line.strip() for _, line in read_lines(path)]
        listed = [line for line in listed if line and not line.startswith("#")]
        if not listed:
            raise InputError(f"{path}: no class names in it; write one name a line")
        return cls(tuple(listed), source=str(path))


def _check_distinct(names: Sequence[str], where: str) -> None:
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(normalise(name), name)
        if other is not name:
            raise InputError(
                f"{where}two classes have the same name after lower-casing: "
                f"'{other}' and '{name}'; rename or remove one"
            )


def _settle(
    names: Sequence[str], synonyms: Sequence[Sequence[str]], where: str
) -> tuple[tuple[str, ...], ...]:
    """Give every phrase to one class: to the class of that name, else to the first."""
    owner = {normalise(name): index for index, name in enumerate(names)}
    for index, phrases in enumerate(synonyms):
        if isinstance(phrases, str):
            raise InputError(f"{where}synonyms of '{names[index]}' must be a list, got {phrases!r}")
        for phrase in phrases:
            if not isinstance(phrase, str) or not phrase.strip():
                raise InputError(
                    f"{where}a synonym of '{names[index]}' is {phrase!r}; "
                    "it must be a word or phrase (quote it in YAML)"
                )
            owner.setdefault(normalise(phrase), index)
    settled: list[tuple[str, ...]] = []
    for index, (name, phrases) in enumerate(zip(names, synonyms, strict=True)):
        kept: dict[str, None] = {}
        if normalise(name) not in map(normalise, phrases):
            kept[normalise(name)] = None
        for phrase in map(normalise, phrases):
            if owner[phrase] == index:
                kept[phrase] = None
            else:
                warnings.warn(
                    f"{where}'{phrase}' is claimed by the classes '{names[owner[phrase]]}' and "
                    f"'{name}'; it goes to '{names[owner[phrase]]}' (the class of that name, "
                    "else the first)",
                    stacklevel=4,
                )
        settled.append(tuple(kept))
    return tuple(settled)


_CLASS_KEYS = ("name", "readable", "dataset_name", "synonyms", "sense", "grown", "stop")
_FILE_KEYS = ("blocked", "modifiers", "verbs")


def _from_yaml(path: Path, style: str) -> Vocabulary:
    content = read_yaml(path)
    extra: dict[str, tuple[str, ...]] = {}
    if isinstance(content, dict) and isinstance(content.get("classes"), list):
        for key, value in content.items():
            if key == "classes":
                continue
            if key not in _FILE_KEYS:
                raise InputError(f"{path}: {unknown('key', str(key), ['classes', *_FILE_KEYS])}")
            extra[key] = _phrases(value, f"{path}: {key}")
        content = content["classes"]
    if isinstance(content, dict):
        content = [{"name": name, "synonyms": words or []} for name, words in content.items()]
    if not isinstance(content, list) or not content:
        raise InputError(
            f"{path}: not a class list; write '- name' lines, '- {{name, synonyms}}' lines "
            "or 'name: [synonyms]' lines"
        )
    classes = [_class_entry(item, f"{path}: class {n}") for n, item in enumerate(content, 1)]
    return Vocabulary(
        names=tuple(c[style] for c in classes),
        synonyms=tuple((c["paper"], *c["synonyms"]) for c in classes),
        dataset_names=tuple(c["dataset_name"] for c in classes),
        grown=tuple(c["grown"] for c in classes),
        senses=tuple(c["sense"] for c in classes),
        stop=tuple(c["stop"] for c in classes),
        source=str(path),
        **extra,
    )


def _class_entry(item: Any, where: str) -> dict[str, Any]:
    if isinstance(item, str):
        item = {"name": item}
    if not isinstance(item, dict) or "name" not in item:
        raise InputError(f"{where} has no 'name': {item!r}")
    for key in item:
        if key not in _CLASS_KEYS:
            raise InputError(f"{where}: {unknown('key', str(key), _CLASS_KEYS)}")
    for key in ("name", "readable", "dataset_name", "sense"):
        if key in item and not isinstance(item[key], str):
            raise InputError(f"{where}: {key} is {item[key]!r}, not text; quote it in the YAML")
    return {
        "paper": item["name"],
        "readable": item.get("readable", item["name"]),
        "dataset_name": item.get("dataset_name", item["name"]),
        "sense": item.get("sense", ""),
        "synonyms": _phrases(item.get("synonyms") or [], f"{where}: synonyms"),
        "grown": _phrases(item.get("grown") or [], f"{where}: grown"),
        "stop": _phrases(item.get("stop") or [], f"{where}: stop"),
    }


def _phrases(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise InputError(f"{where} must be a list, got {value!r}")
    for phrase in value:
        if not isinstance(phrase, str):
            raise InputError(f"{where}: {phrase!r} is not text; quote it in the YAML")
    return tuple(value)
