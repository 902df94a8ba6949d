"""Opening a tagger for a command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tai_dpt.errors import InputError


def load_tagger(
    folder: Path, *, device: str = "cpu", backbone: str | None = None, view: str | None = None
) -> Any:
    """The tagger in ``folder``, with another view where one is asked for."""
    import dataclasses

    import torch

    from tai_dpt import Tagger

    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError("there is no CUDA device here: use --device cpu")
    tagger = Tagger.load(folder, device=device, backbone=backbone)
    if view is not None:
        tagger.preprocessing = dataclasses.replace(tagger.preprocessing, view=view)
    return tagger
