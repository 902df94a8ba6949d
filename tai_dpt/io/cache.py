"""Where what can be computed again is kept, and what to do where it cannot be."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path

from tai_dpt.io.opening import expanded

VARIABLE = "TAI_DPT_CACHE"
ELSEWHERE = f"set {VARIABLE} to a folder that can be written and has room"


def cache_root() -> Path:
    """``$TAI_DPT_CACHE``, else the system's place for a user's caches: ``~/.cache/tai-dpt``."""
    if chosen := os.environ.get(VARIABLE):
        return expanded(chosen)
    return user_cache_path("tai-dpt", appauthor=False)
