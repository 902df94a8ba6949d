"""Documents with one thing wrong in them: the generators of the robustness suite."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from typing import Any

MISSING = object()
WRONG: dict[str, Any] = {
    "missing": MISSING,
    "null": None,
    "a number": 5,
    "a negative number": -1,
    "a huge number": 10**30,
    "NaN": math.nan,
    "a text": "x",
    "an empty text": "",
    "a list": [1, "x"],
    "an empty list": [],
    "an object": {"x": 1},
}

# texts that no reader may choke on, whatever it reads
BROKEN_JSON = {
    "empty": "",
    "cut short": '{"a": [1, 2',
    "nested 200,000 deep": "[" * 200_000,
    "5,000 digits": '{"a": ' + "1" * 5000 + "}",
    "half a surrogate pair": r'{"a": "\ud800"}',
    "a key twice": '{"a": 1, "a": 2}',
    "a list": "[1, 2]",
    "a number": "5",
    "null": "null",
    "NUL bytes": "\0\0\0\0",
    "Latin-1": b'{"a": "caf\xe9"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
}


def paths_in(document: Any, depth: int = 2) -> Iterator[tuple[Any, ...]]:
    """The paths of all keys of nested objects, ``depth`` levels down."""
    if isinstance(document, dict) and depth:
        for key, value in document.items():
            yield (key,)
            for rest in paths_in(value, depth - 1):
                yield (key, *rest)


def changed(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy in which what is at ``path`` is ``value``, or not there."""
    document = copy.deepcopy(document)
    node = document
    for key in path[:-1]:
        node = node[key]
    if value is MISSING:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    return document


def written(value: Any) -> bytes:
    """As JSON, unless it is text or bytes already."""
    if isinstance(value, bytes):
        return value
    return (value if isinstance(value, str) else json.dumps(value)).encode()
