"""Which toolbox, clip and torch a command uses."""

from __future__ import annotations

import importlib.util
from importlib import metadata
from pathlib import Path

from tai_dpt.errors import InputError


def in_use() -> dict[str, str]:
    """Part → its version and its folder, or what it lacks."""
    try:
        from tai_dpt.toolbox import TOOLBOX  # here: it complains of a choice that cannot be had

        chosen = "embedded" if TOOLBOX == "embedded" else _found("dassl")
    except InputError as error:
        chosen = str(error)
    return {"toolbox": chosen, "clip": _found("clip"), "torch": _found("torch")}


def _found(package: str) -> str:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return "not installed"
    names = metadata.packages_distributions().get(package, [])
    version = f"{names[0]} {metadata.version(names[0])}" if names else f"{package} in a checkout"
    return f"{version} ({Path(spec.origin).parent})"
