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

PathLike = str | os.PathLike[str]


def merge_file(cfg: CfgNode, path: PathLike) -> None:
    """Merge a yaml file; InputError names the file and what is wrong in it."""
    path = Path(path)
    if not os.path.lexists(path):
        beside = sorted(p.name for p in path.parent.glob("*.yaml"))
        if beside:
            raise unknown(f"config in {path.parent}", path.name, beside)
    content = read_yaml(path)
    if content is None:
        return
    if not isinstance(content, Mapping):
        raise InputError(f"{path} is not a config: its top level must be 'SECTION:' lines")
    for key, value in flat_config(content).items():
        _set(cfg, key, value, str(path))


def merge_pairs(cfg: CfgNode, pairs: Sequence[Any]) -> None:
    """Merge KEY, VALUE, KEY, VALUE, …; text is read as Python where it can be."""
    if len(pairs) % 2:
        raise InputError(f"options come in KEY VALUE pairs; {pairs[-1]!r} stands alone")
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        _set(cfg, str(key), value, "KEY VALUE options")


def restore(cfg: CfgNode, saved: Mapping[str, Any]) -> None:
    """Set what ``results.json`` says of a run's config; keys of other versions are passed over.

    So is Dassl's evaluator, which version 0.1 took for ours.
    """
    for key, value in flat_config(saved).items():
        if (key, value) == ("TEST.EVALUATOR", "Classification"):
            continue
        with suppress(InputError):
            node, leaf = find_key(cfg, key, "results")
            node[leaf] = tuple(value) if isinstance(value, list) else value


def find_key(cfg: CfgNode, key: str, where: str) -> tuple[CfgNode, str]:
    """The node that holds ``key``, and the last part of ``key``."""
    node, parts = cfg, key.split(".")
    for depth, part in enumerate(parts):
        if not isinstance(node, CfgNode) or part not in node:
            prefix = "".join(f"{name}." for name in parts[:depth])
            names = node if isinstance(node, CfgNode) else ()
            error = unknown("config key", key, [f"{prefix}{name}" for name in names])
            raise InputError(f"{where}: {error}")
        if depth < len(parts) - 1:
            node = node[part]
    if isinstance(node[parts[-1]], CfgNode):
        inside = ", ".join(node[parts[-1]])
        raise InputError(f"{where}: '{key}' is a section, set one of its keys: {inside}")
    return node, parts[-1]


def _set(cfg: CfgNode, key: str, value: Any, where: str) -> None:
    node, leaf = find_key(cfg, key, where)
    present = node[leaf]
    if isinstance(present, float) and isinstance(value, int | str):
        with suppress(ValueError):  # a whole number, or yaml's 1e-5, which it reads as text
            value = float(value)
    try:
        node.merge_from_list([leaf, value])
    except (ValueError, TypeError, RecursionError, MemoryError) as error:  # ast.literal_eval's
        if isinstance(present, str) and isinstance(value, str):
            node[leaf] = value  # text that looks like a number
            return
        kind = type(present).__name__
        raise InputError(
            f"{where}: {key} takes a value of type {kind}, not {shown_value(value)}"
        ) from error
