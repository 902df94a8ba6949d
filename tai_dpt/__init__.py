"""TaI-DPT: prompts learned from captions that recognise many objects in images.

The method of *Texts as Images in Prompt Tuning for Multi-Label Image Recognition* (CVPR 2023)
as a plug-in for the prompt-learning toolbox Dassl. ``import tai_dpt.datasets,
tai_dpt.trainers`` registers everything; ``from tai_dpt import Tagger`` is the method in one
class.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tai_dpt.tagger.fitting import Tagger

__version__ = "0.2.0"

# In a checkout the folders that setup.py maps into this package stand beside it: whoever starts
# from there (``python train.py``) sees the same modules as an installation has.
_BESIDE = Path(__file__).resolve().parents[1]
if not (Path(__file__).parent / "trainers").exists() and (_BESIDE / "trainers").is_dir():
    __path__.append(str(_BESIDE))

# Public name -> the module it lives in. Looked up at first use: this file is the front door of
# the whole package and the root of the core at once, and the core imports nothing above it.
_EXPORTS = {"Tagger": "tai_dpt.tagger.fitting"}

__all__ = ["Tagger", "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS})
