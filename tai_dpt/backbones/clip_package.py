"""The one door to the ``clip`` package, whichever copy comes first on ``sys.path``.

OpenAI's repository, the builds on PyPI (clip-anytorch, openai-clip) and the copies vendored in
CoOp-style repositories differ in the names of layers without weights, in what ``encode_text``
and the attention pool return, and in how they load a file. What they share is all that is used
here: the class ``clip.model.CLIP``, the tokenizer, and the table of published files.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from tai_dpt.errors import InputError


def _spec(name: str) -> ModuleSpec:
    """Where ``clip.<name>`` lies; nothing is imported.

    Raises:
        InputError: there is no such module; it says what to install.
    """
    package = find_spec("clip")
    if package is None:
        raise InputError("the package 'clip' is not installed: pip install clip-anytorch")
    spec = PathFinder.find_spec(f"clip.{name}", package.submodule_search_locations or [])
    if spec is None or spec.loader is None:
        raise InputError(
            f"the package 'clip' in {package.origin or 'an unknown place'} is not OpenAI's CLIP "
            f"(it has no 'clip.{name}'): pip uninstall clip, then pip install clip-anytorch"
        )
    return spec


@lru_cache
def _submodule(name: str) -> ModuleType:
    """``clip.<name>``, alone where nobody has imported it.

    ``import clip`` brings torchvision, which takes as long as torch, and in the builds on PyPI
    pkg_resources, which setuptools has dropped: what is used here needs neither.
    """
    if loaded := sys.modules.get(f"clip.{name}"):
        return loaded
    spec = _spec(name)
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)  # type: ignore[union-attr]  # looked at by _spec
    except ImportError as error:
        raise InputError(f"cannot import the package 'clip': {error}") from error
    return module


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
    place = str(_spec("clip").origin)
    for line in ast.parse(Path(place).read_bytes()).body:
        if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "_MODELS":
            return ast.literal_eval(line.value), place
    raise InputError(f"{place} has no table of published files: pip install clip-anytorch")
