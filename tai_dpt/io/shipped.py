"""Where the files that ship with the package are."""

from __future__ import annotations

from importlib import resources
from pathlib import Path


def config_path(*parts: str) -> Path:
    """A shipped yaml file: ``config_path("datasets", "emoji_scenes.yaml")``."""
    return _folder("tai_dpt.configs").joinpath(*parts)


def shipped_data() -> Path:
    """The folder that holds ``emoji_scenes``; a ``--root`` for it."""
    return _folder("tai_dpt.data")


def _folder(package: str) -> Path:
    return Path(str(resources.files(package)))
