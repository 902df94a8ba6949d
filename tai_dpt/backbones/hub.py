"""Model hubs: what is in the cache is taken from there, the network is asked only for the rest."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeVar

from safetensors import SafetensorError

from tai_dpt.errors import InputError
from tai_dpt.io.opening import expanded, special_kind

Loaded = TypeVar("Loaded")

#: what a library's model is asked for by -> the file that says how it is built
CONFIG_FILES = {"hf-hub": "open_clip_config.json", "transformers": "config.json"}


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


def check_place(place: str) -> None:
    """Raise InputError for a folder that is not there, or in which a file is none: a library would
    wait for a pipe. What could be a repository's name passes."""
    if not place:
        raise InputError("no model is named: write hf-hub:ID-OR-FOLDER, transformers:ID-OR-FOLDER")
    path = expanded(place)
    if not path.is_dir() and (path.is_absolute() or place.startswith(".")):
        raise InputError(f"{path}: {'a file, not a folder' if path.exists() else 'no such folder'}")
    for part in sorted(path.iterdir()) if path.is_dir() else ():
        kind = special_kind(part)
        if kind and (kind != "a folder" or part.suffix in (".json", ".safetensors")):
            raise InputError(f"{part} is {kind}; a file is needed")


def hint(folder: Path, *, asked: str = "") -> str:
    """How the model in a folder is asked for, to be put behind a message; "" where there is none.

    Args:
        asked: the library that has been asked already.
    """
    for library, config in CONFIG_FILES.items():
        if library != asked and (folder / config).is_file():
            return f": ask for {library}:{folder}"
    return ""


@contextmanager
def reading(given: str) -> Iterator[None]:
    """Whatever a library raises on its way through a model's files is one line about ``given``.

    The hub, the file system, and the readers of configs, weights and tokenizers raise each their
    own, down to ZeroDivisionError; so does the library's import where it does not fit another.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"cannot load '{given}': {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, UnpicklingError):
        return (
            "its weights are pickled Python objects, which are not loaded for safety: ask for "
            ".safetensors, or save the weights alone with torch.save(model.state_dict(), …)"
        )
    if isinstance(error, SafetensorError):
        return f"the weights are truncated or no safetensors ({error}): fetch them again"
    if isinstance(error, ModuleNotFoundError):
        return f"it needs {error.name}, which is not installed: pip install {error.name}"
    if isinstance(error, KeyError):
        return f"its config has, or lacks, {error}"
    if isinstance(error, ArithmeticError):
        return f"a size in its config makes no sense ({error})"
    if isinstance(error, EOFError | StopIteration):
        return "the weights are empty or truncated: fetch them again"
    reason = one_line(error)
    if isinstance(error, IndexError | AttributeError | TypeError):
        return f"its files are damaged, or hold something else than its library expects ({reason})"
    if "state_dict" in reason or isinstance(error, AssertionError):
        return f"the weights are of another architecture ({reason})"
    return reason


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
