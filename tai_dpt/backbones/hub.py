"""Model hubs: what is in the cache is taken from there, the network is asked only for the rest."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any, TypeVar

Loaded = TypeVar("Loaded")


def cached_first(load: Callable[[], Loaded]) -> Loaded:
    """``load()``, first without the network; again with it where that failed.

    The hub's own switches hold: with ``HF_HUB_OFFLINE`` the network is not asked at all.
    """
    constants: Any = importlib.import_module("huggingface_hub.constants")
    if constants.HF_HUB_OFFLINE:
        return load()
    constants.HF_HUB_OFFLINE = True
    try:
        return load()
    except Exception:  # whatever the cache lacks, each library says it with an error of its own
        pass
    finally:
        constants.HF_HUB_OFFLINE = False
    return load()


def one_line(error: BaseException) -> str:
    """The first line of an error that says something, and the one behind it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300] or type(error).__name__


def hub_folder() -> str:
    """Where the hub keeps what it fetched (``HF_HOME``, ``HF_HUB_CACHE``)."""
    try:
        return str(importlib.import_module("huggingface_hub.constants").HF_HUB_CACHE)
    except ImportError:
        home = os.environ.get("HF_HOME", "~/.cache/huggingface")
        return os.path.join(os.path.expanduser(home), "hub")
