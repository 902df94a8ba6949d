"""Where the files that ship with the package are."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

#: the backbone that ships, by the name of its small world
SHIPPED = "emoji_scenes"


def config_path(*parts: str) -> Path:
    """A shipped yaml file: ``config_path("datasets", "emoji_scenes.yaml")``."""
    return _folder("tai_dpt.configs").joinpath(*parts)


def shipped_data() -> Path:
    """The folder that holds ``emoji_scenes``; a ``--root`` for it."""
    return _folder("tai_dpt.data")


def backbone_file(name: str | os.PathLike[str]) -> str:
    """What ``--backbone`` names: for ``emoji_scenes`` its CLIP's file, else ``name`` itself."""
    if os.fspath(name) != SHIPPED:
        return os.fspath(name)
    return os.fspath(shipped_data() / SHIPPED / "clip.safetensors")


def _folder(package: str) -> Path:
    return Path(str(resources.files(package)))
