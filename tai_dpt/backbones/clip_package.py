"""The one door to the ``clip`` package, whichever copy comes first on ``sys.path``.

OpenAI's repository, the builds on PyPI (clip-anytorch, openai-clip) and the copies vendored in
CoOp-style repositories differ in the names of layers without weights, in what ``encode_text``
and the attention pool return, and in how they load a file. What they share is all that is used
here: the class ``clip.model.CLIP``, the tokenizer, and the table of published files.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any

from tai_dpt.errors import InputError


def _submodule(name: str) -> ModuleType:
    """``clip.<name>``. Raises InputError where it cannot be imported, saying what to install."""
    try:
        with warnings.catch_warnings():
            # the PyPI builds import pkg_resources, which announces its own removal
            for category in (UserWarning, DeprecationWarning):
                warnings.filterwarnings("ignore", message=".*pkg_resources", category=category)
            return import_module(f"clip.{name}")
    except ImportError as error:
        raise InputError(_cannot_import(error)) from error


def _cannot_import(error: ImportError) -> str:
    missing = error.name or ""
    if missing == "clip" and isinstance(error, ModuleNotFoundError):
        return "the package 'clip' is not installed: pip install clip-anytorch 'setuptools<82'"
    if missing.startswith("clip."):
        place = getattr(import_module("clip"), "__file__", None) or "an unknown place"
        return (
            f"the package 'clip' in {place} is not OpenAI's CLIP (it has no '{missing}'): "
            "pip uninstall clip, then pip install clip-anytorch"
        )
    if missing == "pkg_resources":
        return (
            "this build of 'clip' needs pkg_resources, which setuptools dropped in version 82: "
            "pip install 'setuptools<82'"
        )
    return f"cannot import the package 'clip': {error}"


def clip_class() -> type[Any]:
    """``clip.model.CLIP``."""
    found: type[Any] = _submodule("model").CLIP
    return found


@lru_cache(maxsize=1)
def tokenizer() -> Any:
    """CLIP's byte-pair tokenizer: ``encode(text) -> list[int]``, the dict ``encoder``, and ``pat``,
    which finds the words of a text."""
    return _submodule("simple_tokenizer").SimpleTokenizer()


def text_cleaner() -> Callable[[str], str]:
    """What CLIP's tokenizer does to a text before it cuts it: entities, white space, case."""
    module = _submodule("simple_tokenizer")
    return lambda text: module.whitespace_clean(module.basic_clean(text)).lower()


def published_files() -> tuple[Mapping[str, str], str]:
    """The package's own table, name → address of the published file, and where the table lies.

    The last folder of an address is the file's SHA-256.
    """
    module = _submodule("clip")
    return module._MODELS, str(module.__file__)
