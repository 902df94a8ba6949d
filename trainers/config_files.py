"""Merging yaml files and KEY VALUE pairs into a config, with errors that name the place."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from tai_dpt.errors import InputError, unknown
from tai_dpt.io.reading import read_yaml, shown_value
from tai_dpt.scoring.results import flat_config
from tai_dpt.trainers.config import default_config
from tai_dpt.trainers.option_ranges import check_options
from tai_dpt.trainers.public_names import refuse_public_names

PathLike = str | os.PathLike[str]
_DENSE = "MODEL.BACKBONE.DENSE"
# of a run from before there was a choice: the value path of a vision transformer
DENSE_OF_OLD = "as it was"


def read_file(path: PathLike) -> dict[str, Any]:
    """The settings of a yaml file by flat keys; InputError names the file and what is wrong."""
    path = Path(path)
    if not os.path.lexists(path):
        beside = sorted(p.name for p in path.parent.glob("*.yaml"))
        if beside:
            raise unknown(f"config in {path.parent}", path.name, beside)
    content = read_yaml(path)
    if content is None:
        return {}
    if not isinstance(content, Mapping):
        raise InputError(f"{path} is not a config: its top level must be 'SECTION:' lines")
    return flat_config(content)


def merge_file(cfg: CfgNode, path: PathLike) -> None:
    """Merge a yaml file; InputError names the file and all that is wrong in it."""
    _set_all(cfg, read_file(path), str(path))


def merge_pairs(cfg: CfgNode, pairs: Sequence[Any]) -> None:
    """Merge KEY, VALUE, KEY, VALUE, …; text is read as Python where it can be."""
    flags = [str(word) for word in pairs if str(word).startswith("--")]
    if flags:
        raise InputError(f"flags go before the first KEY VALUE pair: {' '.join(flags)}")
    if len(pairs) % 2:
        raise InputError(f"options come in KEY VALUE pairs; {pairs[-1]!r} stands alone")
    settings = {str(key): value for key, value in zip(pairs[::2], pairs[1::2], strict=True)}
    _set_all(cfg, settings, "KEY VALUE options")


def restore(cfg: CfgNode, saved: Mapping[str, Any]) -> None:
    """Set what ``results.json`` says of a run's config; keys of other versions are passed over.

    So is Dassl's evaluator, which version 0.1 took for ours. Local features stay those that the run
    was tested with.

    Raises:
        InputError: a value is of another type than its option, or none that is valid.
    """
    options = flat_config(saved)
    for key, value in options.items():
        if (key, value) == ("TEST.EVALUATOR", "Classification"):
            continue
        try:
            node, leaf = find_key(cfg, key)
        except InputError:
            continue
        value = tuple(value) if isinstance(value, list) else value
        if _kind(value) != _kind(node[leaf]) and _default(key) is not None:
            kind = type(node[leaf]).__name__
            raise InputError(f"{key} takes a value of type {kind}, not {shown_value(value)}")
        node[leaf] = value
    check_options(cfg)
    cfg.MODEL.BACKBONE.DENSE = dense_of(saved)


def dense_of(saved: Mapping[str, Any]) -> str:
    """``MODEL.BACKBONE.DENSE`` of a run's saved config."""
    return str(flat_config(saved).get(_DENSE, DENSE_OF_OLD))


def _kind(value: Any) -> type:
    """The type of an option's value, where numbers are one and lists are one."""
    if isinstance(value, bool | str | CfgNode):
        return type(value)
    return float if isinstance(value, int | float) else tuple if value is not None else type(None)


def find_key(cfg: CfgNode, key: str) -> tuple[CfgNode, str]:
    """The node that holds ``key``, and the last part of ``key``; InputError where none does."""
    node, parts = cfg, key.split(".")
    for depth, part in enumerate(parts):
        if not isinstance(node, CfgNode) or part not in node:
            prefix = "".join(f"{name}." for name in parts[:depth])
            names = node if isinstance(node, CfgNode) else ()
            raise unknown("config key", key, [f"{prefix}{name}" for name in names])
        if depth < len(parts) - 1:
            node = node[part]
    if isinstance(node[parts[-1]], CfgNode):
        inside = ", ".join(node[parts[-1]])
        raise InputError(f"'{key}' is a section, set one of its keys: {inside}")
    return node, parts[-1]


def _set_all(cfg: CfgNode, settings: Mapping[str, Any], where: str) -> None:
    """Set what can be set, then raise one InputError for all that cannot."""
    refuse_public_names(settings)
    wrong = []
    for key, value in settings.items():
        try:
            _set(cfg, key, value)
        except InputError as error:
            wrong.append(str(error))
    if wrong:
        raise InputError(f"{where}: {'; '.join(wrong)}")


def _set(cfg: CfgNode, key: str, value: Any) -> None:
    node, leaf = find_key(cfg, key)
    present = node[leaf]
    if isinstance(value, bool) and isinstance(present, int | float) and type(present) is not bool:
        raise InputError(f"{key} takes a value of type {type(present).__name__}, not {value}")
    if isinstance(present, float) and isinstance(value, int | str):
        # a whole number, of any length, or yaml's 1e-5, which it reads as text
        with suppress(ValueError, OverflowError):
            value = float(value)
    try:
        node.merge_from_list([leaf, value])
    except (ValueError, TypeError, RecursionError, MemoryError) as error:  # ast.literal_eval's
        if isinstance(present, str) and isinstance(value, str):
            node[leaf] = value  # text that looks like a number
            return
        if _default(key) is None:  # of several types: the trainer checks it
            node[leaf] = value
            return
        kind = type(present).__name__
        raise InputError(f"{key} takes a value of type {kind}, not {shown_value(value)}") from error
    if node[leaf] is None and present is not None:  # yacs lets nothing stand for anything
        node[leaf] = present
        raise InputError(f"{key} takes a value of type {type(present).__name__}, not null")


def _default(key: str) -> Any:
    node, leaf = find_key(default_config(), key)
    return node[leaf]
