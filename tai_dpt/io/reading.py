"""Reading JSON and YAML from hands unknown: parsed with care, then held against a type.

``read_json`` and ``read_yaml`` refuse what the libraries let through or choke on: a key given
twice, an integer of thousands of digits, nesting without end, aliases that multiply, half a
surrogate pair. ``checked`` turns what was parsed into a type (a dataclass, a ``Record``, …) and
says in one line what does not fit. Arrays are for ``tai_dpt.io.arrays``.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Hashable, Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from tai_dpt.errors import InputError
from tai_dpt.io.text import read_text

T = TypeVar("T")

Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]

_DEEPEST = 100
_MOST_ALIASED = 100_000  # nodes that aliases may add to a YAML file
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_SHOWN = 60


class Record(BaseModel):
    """A JSON object with exactly these keys. ``checked`` makes one."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class OpenRecord(BaseModel):
    """A JSON object with these keys and any others."""

    model_config = ConfigDict(extra="allow", frozen=True)


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    doubled = sorted({name for name in names if names.count(name) > 1}) if names else []
    if doubled:
        raise ValueError(f"'{doubled[0]}' occurs twice")
    return names


#: class names and the like: texts, at least one, none of them blank or twice
Names = Annotated[
    tuple[Annotated[str, Field(pattern=r"\S")], ...],
    Field(min_length=1),
    AfterValidator(_each_once),
]


# -- JSON ----------------------------------------------------------------------------------------


def read_json(path: str | os.PathLike[str], *, remedy: str = "") -> Any:
    """The content of a UTF-8 JSON file; errors as in ``read_text`` and ``parse_json``."""
    return parse_json(read_text(path), where=str(path), remedy=remedy)


def parse_json(text: str, *, where: str, remedy: str = "", half_characters: bool = False) -> Any:
    """The content of a JSON text.

    Args:
        where: the file, and the line where the text is one, for the message.
        remedy: what the user can do about a damaged file, for the message.
        half_characters: let halves of surrogate pairs through, where the caller looks at texts
            one by one.

    Raises:
        InputError: it is not JSON, or no reader agrees with another on what it says.
    """
    try:
        content = json.loads(text, object_pairs_hook=_once_each)
        if not half_characters and _ESCAPED_SURROGATE.search(text):
            json.dumps(content, ensure_ascii=False).encode()
    except RecursionError:
        raise _not("JSON", where, "it is nested too deeply", remedy) from None
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        raise _not("JSON", where, f"{half} is half a character", remedy) from None
    except ValueError as error:  # JSONDecodeError, or a number of more than 4,300 digits
        raise _not("JSON", where, first_line(error), remedy) from None
    return content


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        names = [name for name, _ in pairs]
        doubled = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key '{doubled}' occurs twice")
    return content


# -- YAML ----------------------------------------------------------------------------------------

# libyaml's parser where PyYAML has it: the vocabularies that ship are long
if TYPE_CHECKING:
    from yaml import SafeLoader as _SafeLoader
else:  # libyaml's is ten times as fast, but not in every build
    _SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: str | os.PathLike[str]) -> Any:
    """The content of a UTF-8 YAML file; errors as in ``read_text`` and ``parse_yaml``."""
    return parse_yaml(read_text(path), where=str(path))


def parse_yaml(text: str, *, where: str) -> Any:
    """The content of a YAML text: plain values only.

    Raises:
        InputError: it is not YAML, a key occurs twice, or it is nested or multiplied by aliases
            beyond reason; with the line.
    """
    try:
        _check_depth(text)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check_aliases(node)
            content = loader.construct_document(node)
        finally:
            loader.dispose()
        if _ESCAPED_SURROGATE.search(text):
            json.dumps(content, ensure_ascii=False, default=str).encode()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"{where}: line {mark.line + 1}" if mark else where
        problem = getattr(error, "problem", None) or first_line(error)
        raise InputError(f"{line}: not valid YAML: {problem}") from None
    except UnicodeEncodeError:
        raise InputError(f"{where}: not valid YAML: half a surrogate pair in it") from None
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        # what PyYAML's constructors let out: a number too long, a date that is none, !!bool foo
        reason = f"{error} is none of its type" if type(error) is KeyError else first_line(error)
        raise InputError(f"{where}: not valid YAML: {reason}") from None
    return content


class _Loader(_SafeLoader):
    """YAML in which a key that occurs twice is an error, not silently the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, list | dict):
                continue  # the base class reports unhashable keys
            if key in seen:
                raise _yaml_error(f"'{key}' occurs twice", key_node)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _yaml_error(problem: str, place: Any) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, place.start_mark)


def _check_depth(text: str) -> None:
    """Before anything recurses: libyaml's composer would overflow the C stack."""
    depth = 0
    for event in yaml.parse(text, Loader=_SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEEPEST:
                raise _yaml_error(f"nested more than {_DEEPEST} deep", event)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _check_aliases(root: yaml.Node) -> None:
    """Size and depth of the document with every alias written out, found without doing so."""
    known: dict[int, tuple[int, int]] = {}  # node -> (nodes in it, depth)
    open_: set[int] = set()

    def measure(node: yaml.Node) -> tuple[int, int]:
        if not isinstance(node, yaml.CollectionNode):
            return 1, 0
        if id(node) in known:
            return known[id(node)]
        if id(node) in open_:
            raise _yaml_error("an alias stands inside what it stands for", node)
        open_.add(id(node))
        pairs = isinstance(node, yaml.MappingNode)
        parts = [part for pair in node.value for part in pair] if pairs else node.value
        measured = [measure(part) for part in parts]
        size = 1 + sum(size for size, _ in measured)
        depth = 1 + max((depth for _, depth in measured), default=0)
        if depth > _DEEPEST:
            raise _yaml_error(f"nested more than {_DEEPEST} deep", node)
        known[id(node)] = size, depth
        return size, depth

    size, _ = measure(root)
    written = sum(1 + len(node.value) for node in _collections(root))
    if size > 2 * written + _MOST_ALIASED:
        raise _yaml_error(f"its aliases stand for {size:,} values", root)


def _collections(root: yaml.Node) -> list[Any]:
    """Every list and mapping, each once however many aliases it has."""
    found: dict[int, Any] = {}
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if not isinstance(node, yaml.CollectionNode) or id(node) in found:
            continue
        found[id(node)] = node
        for part in node.value:
            waiting += part if isinstance(part, tuple) else (part,)
    return list(found.values())


# -- against a type --------------------------------------------------------------------------------


def checked(kind: type[T], content: Any, *, where: str, remedy: str = "") -> T:
    """``content``, as JSON or YAML gave it, as a ``kind``.

    Nothing is converted but lists to tuples and whole numbers to fractions; a key that ``kind``
    does not know is an error, except in an ``OpenRecord``.

    Args:
        where: the file (and what in it), for the message.
        remedy: what the user can do about it, for the message.

    Raises:
        InputError: it does not fit; the message says which part does not, and what would.
    """
    if is_dataclass(kind) and isinstance(content, Mapping):  # pydantic passes over what it lacks
        unknown = [name for name in content if name not in {field.name for field in fields(kind)}]
        if unknown:
            raise InputError(f"{where}: {unknown[0]!r} is unknown{then(remedy)}")
    # strict mode takes a list for a tuple only where it knows that the source is JSON
    text = json.dumps(content, ensure_ascii=False, default=str)
    try:
        return TypeAdapter(kind).validate_json(text, strict=True)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise InputError(f"{where}: {_described(faults[0])}{more}{then(remedy)}") from None


def _described(fault: Any) -> str:
    """One fault as pydantic found it, in plain words."""
    name = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "missing":
        return f"it lacks '{name}'"
    if fault["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"'{name}' is unknown"
    value = fault["input"]
    given = f"not {shown_value(value)}"
    if fault["type"] == "value_error":
        return f"'{name}': {fault['msg'].removeprefix('Value error, ')}" if name else fault["msg"]
    if fault["type"] == "string_pattern_mismatch" and isinstance(value, str) and not value.strip():
        return f"'{name}' is blank"
    message = fault["msg"].removeprefix("Input ").removeprefix("Value ")
    return f"{repr(name) if name else 'it'} {message[0].lower()}{message[1:]}, {given}"


def shown_value(value: Any) -> str:
    """A value as a message shows it: on one line, and short."""
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    text = "null" if value is None else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def json_kind(value: Any) -> str:
    """What a value of JSON is, in JSON's words.

    >>> json_kind(None), json_kind(1), json_kind([])
    ('null', 'a number', 'a list')
    """
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    kinds = {dict: "an object", list: "a list", str: "a text", int: "a number", float: "a number"}
    return kinds.get(type(value), f"a {type(value).__name__}")


def _not(format_: str, where: str, why: str, remedy: str) -> InputError:
    return InputError(f"{where}: not valid {format_}: {why}{then(remedy)}")


def then(remedy: str) -> str:
    """A remedy as the end of a message."""
    return f"; {remedy}" if remedy else ""


def first_line(error: BaseException) -> str:
    """What an error says, on one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).strip().splitlines()
    if lines and lines[0].startswith("Object arrays"):  # NumPy's, of its option for pickles
        return "it holds Python objects, which may be programs, not numbers"
    if lines and lines[0].startswith("Exceeds the limit"):  # Python's, on int(), in its own terms
        return "a number of thousands of digits"
    return lines[0][:200] if lines else type(error).__name__
