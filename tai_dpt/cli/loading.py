"""Opening a tagger for a command."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def load_tagger(
    folder: Path, *, device: str, backbone: str | None = None, view: str | None = None
) -> Any:
    """The tagger in ``folder``, with another view where one is asked for."""
    import dataclasses

    from tai_dpt import Tagger

    tagger = Tagger.load(folder, device=device, backbone=backbone)
    if view is not None:
        tagger.preprocessing = dataclasses.replace(tagger.preprocessing, view=view)
    return tagger
