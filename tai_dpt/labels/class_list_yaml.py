"""A class list written as YAML, with what each class has grown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from tai_dpt.io.reading import parse_yaml
from tai_dpt.io.text import read_text
from tai_dpt.labels.name_entries import class_items
from tai_dpt.labels.vocabulary import Vocabulary


def source_entries(source: Path) -> tuple[str, list[dict[str, Any]]]:
    """The comment at the head of a class list, and what it says of each class.

    >>> from tai_dpt.labels.class_lists import vocabulary_file
    >>> source_entries(vocabulary_file("voc2007"))[1][0]["name"]
    'aeroplane'
    """
    if source.suffix.lower() not in (".yaml", ".yml"):
        return "", [{"name": name} for name in Vocabulary.from_file(source).names]
    text = read_text(source)
    header = re.match(r"(#.*\n|\s*\n)*", text)
    content = parse_yaml(text, where=str(source))
    entries = [
        {"name": item} if isinstance(item, str) else dict(item)
        for item in class_items(content, source)
    ]
    return header[0] if header else "", entries


def to_yaml(entries: list[dict[str, Any]], vocabulary: Vocabulary) -> str:
    """A class list in YAML: what it said of each class, and what it has grown.

    >>> print(to_yaml([{"name": "dog"}], Vocabulary(("dog",), grown=(("puppy",),))))
    classes:
    - name: dog
      synonyms: [dog]
      sense: ''
      grown: [puppy]
    <BLANKLINE>
    """
    classes = []
    for index, entry in enumerate(entries):
        kept: dict[str, Any] = {
            key: entry[key] for key in ("name", "readable", "dataset_name") if key in entry
        }
        kept["synonyms"] = entry.get("synonyms") or list(vocabulary.synonyms[index])
        kept["sense"] = vocabulary.senses[index]
        for key, words in (
            ("stop", vocabulary.stop[index]),
            ("implied", vocabulary.implied[index]),
            ("grown", vocabulary.grown[index]),
        ):
            if words:
                kept[key] = list(words)
        classes.append(kept)
    content: dict[str, Any] = {"classes": classes}
    for key in ("modifiers", "verbs", "blocked"):
        if getattr(vocabulary, key):
            content[key] = list(getattr(vocabulary, key))
    return yaml.dump(
        content,
        Dumper=_Dumper,
        sort_keys=False,
        width=98,
        allow_unicode=True,
        default_flow_style=False,
    )


class _Dumper(yaml.SafeDumper):
    """Lists of words on flowing lines, everything else as blocks."""


def _list(dumper: yaml.SafeDumper, data: list[Any]) -> yaml.Node:
    flow = all(isinstance(item, str) for item in data)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=flow)


_Dumper.add_representer(list, _list)
