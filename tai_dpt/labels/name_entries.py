"""Class lists in YAML and JSON: this project's, and those that other tools write."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

from tai_dpt.errors import InputError, shorten, unknown
from tai_dpt.io.reading import read_json, read_yaml

_CLASS_KEYS = ("name", "readable", "dataset_name", "synonyms", "sense", "grown", "implied", "stop")
_PHRASE_KEYS = ("blocked", "modifiers", "verbs")
_FILE_KEYS = ("language", *_PHRASE_KEYS)
_YOLO_KEYS = ("nc", "train", "val")  # beside names, of a number and paths
_WORDNET_ID = re.compile(r"n\d{8}")
_LIST_KEY = re.compile(r"(class|category|label)_?names|labels|tags|objects|concepts", re.IGNORECASE)


def class_fields(path: Path, style: str) -> dict[str, Any]:
    """The fields of the ``Vocabulary`` in a file, by name.

    Other tools' lists are read where they say plainly what the classes are: ``names`` of YOLO's
    data.yaml, ``id2label`` of a model's config.json, ``categories`` of COCO's format, names by
    number and numbers by name.

    Args:
        style: "paper" or "readable", the name that counts where a class has both.

    Raises:
        InputError: it cannot be read or is not a class list; with the place in it.

    >>> from tai_dpt.labels.class_lists import vocabulary_file
    >>> class_fields(vocabulary_file("voc2007"), "readable")["names"][-1]
    'tv monitor'
    """
    content = _content(path)
    extra: dict[str, Any] = {}
    if isinstance(content, dict) and isinstance(content.get("classes"), list | dict):
        for key, value in content.items():
            if key == "classes":
                continue
            if key not in _FILE_KEYS:
                raise InputError(f"{path}: {unknown('key', key, ['classes', *_FILE_KEYS])}")
            extra[key] = _phrases(value, f"{path}: {key}") if key in _PHRASE_KEYS else value
    content = class_items(content, path)
    classes = [_class_entry(item, f"{path}: class {n}") for n, item in enumerate(content, 1)]
    return {
        "names": tuple(c[style] for c in classes),
        "synonyms": tuple((c["paper"], *c["synonyms"]) for c in classes),
        "dataset_names": tuple(c["dataset_name"] for c in classes),
        "grown": tuple(c["grown"] for c in classes),
        "implied": tuple(c["implied"] for c in classes),
        "senses": tuple(c["sense"] for c in classes),
        "stop": tuple(c["stop"] for c in classes),
        **extra,
    }


def class_items(content: Any, path: Path) -> list[Any]:
    """What the content of a file says of each class, in order: a name or a mapping.

    Raises:
        InputError: it is not a class list.

    >>> class_items({"nc": 2, "names": {0: "dog", 1: "cat"}}, Path("data.yaml"))
    ['dog', 'cat']
    """
    if isinstance(content, dict) and isinstance(content.get("classes"), list | dict):
        content = content["classes"]
    else:
        content = _of_other_tools(content, path)
    if isinstance(content, dict):
        content = [_entry_of_pair(name, said) for name, said in content.items()]
    elif isinstance(content, list):
        content = [_plain_entry(item) for item in content]
    if not isinstance(content, list) or not content:
        raise InputError(
            f"{path}: not a class list; write '- name' lines, '- {{name, synonyms}}' lines "
            "or 'name: [synonyms]' lines"
        )
    return content


def _entry_of_pair(name: Any, said: Any) -> dict[Any, Any]:
    """The mapping that ``name: said`` means: synonyms, or what else there is to say of a class."""
    if isinstance(said, dict) and "name" not in said:
        return {"name": name, **said}
    if isinstance(said, str) and "," in said:
        said = [word for part in said.split(",") if (word := part.strip())]
    return {"name": name, "synonyms": said}


def _plain_entry(item: Any) -> Any:
    """An item of a list; ``- dog: [puppy]`` and ``- dog: puppy, hound`` as what they mean."""
    if not isinstance(item, dict) or len(item) != 1:
        return item
    ((name, said),) = item.items()
    known = name in _CLASS_KEYS or not isinstance(name, str)
    meant = said is None or isinstance(said, list | dict) or (isinstance(said, str) and "," in said)
    return _entry_of_pair(name, said) if meant and not known else item


def _content(path: Path) -> Any:
    if path.suffix.lower() != ".json":
        try:
            return read_yaml(path)
        except InputError as fault:
            if "not valid YAML" not in str(fault):
                raise
            raise InputError(
                f"{fault} (all classes in one way: '- name' lines, or 'name: [synonyms]' lines, "
                "with a colon after a name that has none)"
            ) from None
    try:
        return read_json(path)
    except InputError as fault:
        try:
            return read_yaml(path)  # which lets a comma after the last name through
        except InputError:
            raise fault from None


def _of_other_tools(content: Any, path: Path) -> Any:
    """The names as a list where another tool wrote them, else the content as it is."""
    if isinstance(content, dict):
        key = next((k for k in ("names", "id2label", "categories") if k in content), None)
        if key is None and any(isinstance(content.get(k), str | int) for k in _YOLO_KEYS):
            raise InputError(
                f"{path}: looks like YOLO's data.yaml, and has no names; write them there"
            )
        if key is None:
            (alone,) = content if len(content) == 1 else ("",)
            if isinstance(alone, str) and _LIST_KEY.fullmatch(alone):
                return content[alone]  # {"class_names": ["dog", "cat"]}
            return _by_number(content)
        names = _of_other_tools(content[key], path)
        if isinstance(names, list) and str(content.get("nc", len(names))) != str(len(names)):
            raise InputError(f"{path}: nc is {content['nc']}, and names has {len(names)} entries")
        return names
    entries = content if isinstance(content, list) else []
    if not entries or not all(isinstance(e, dict) and {"id", "name"} <= set(e) for e in entries):
        return content
    above = [entry.get("supercategory") for entry in entries]
    roots = [e["name"] for e in entries if e.get("supercategory") == "none" and e["name"] in above]
    if roots:  # Roboflow's, which no object has
        warnings.warn(f"{path}: {roots[0]!r} is above the categories, and no class", stacklevel=6)
    return [entry["name"] for entry in entries if entry["name"] not in roots]


def _by_number(content: dict[Any, Any]) -> Any:
    """``{0: name}``, ImageNet's ``{"0": [id, name]}`` or ``{name: 0}`` as a list of names."""
    pairs = [
        (key, value[1] if _is_imagenets(value) else value, str(key).isdecimal())
        for key, value in content.items()
    ]
    if all(numbered and _is_entry(name) for _, name, numbered in pairs):
        names = {int(number): name for number, name, _ in pairs}
    elif all(type(number) is int for _, number, _ in pairs):
        names = {number: name for name, number, _ in pairs}
    else:
        return content
    return [names[number] for number in sorted(names)] if len(names) == len(pairs) else content


def _is_entry(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, dict) and "name" in value)


def _is_imagenets(value: Any) -> bool:
    pair = isinstance(value, list) and len(value) == 2
    return pair and all(isinstance(v, str) for v in value) and bool(_WORDNET_ID.match(value[0]))


def _class_entry(item: Any, where: str) -> dict[str, Any]:
    if isinstance(item, str):
        item = {"name": item}
    if not isinstance(item, dict) or "name" not in item:
        raise InputError(f"{where} has no 'name': {shorten(repr(item), 60)}{_hint(item)}")
    for key in item:
        if key not in _CLASS_KEYS:
            raise InputError(f"{where}: {unknown('key', key, _CLASS_KEYS)}")
    for key in ("name", "readable", "dataset_name", "sense"):
        if key in item and not isinstance(item[key], str):
            raise InputError(f"{where}: {key} is {item[key]!r}, not text; put it in quotes")
    return {
        "paper": item["name"],
        "readable": item.get("readable", item["name"]),
        "dataset_name": item.get("dataset_name", item["name"]),
        "sense": item.get("sense", ""),
        "synonyms": _phrases(item.get("synonyms"), f"{where}: synonyms"),
        "grown": _phrases(item.get("grown"), f"{where}: grown"),
        "implied": _phrases(item.get("implied"), f"{where}: implied"),
        "stop": _phrases(item.get("stop"), f"{where}: stop"),
    }


def _hint(item: Any) -> str:
    """What to write in place of an item that is no class."""
    if isinstance(item, list):
        return "; a name and its synonyms are {name: dog, synonyms: [puppy]}"
    if not isinstance(item, dict):
        return "; put it in quotes"
    if len(item) == 1:
        ((name, said),) = item.items()
        return f"; write '{name}: [{said}]' for a synonym, or quote a name that has a colon"
    return ""


def _phrases(value: Any, where: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        listed = f"; write [{value}]" if isinstance(value, str) else ""
        raise InputError(f"{where} must be a list, got {value!r}{listed}")
    for phrase in value:
        if not isinstance(phrase, str):
            raise InputError(f"{where}: {phrase!r} is not text; put it in quotes")
    return tuple(value)
