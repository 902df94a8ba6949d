"""Checkpoints in Dassl's layout that a safe load accepts.

``<directory>/<model name>/model.pth.tar-<epoch>``, ``model-best.pth.tar`` and a text file
``checkpoint`` that names the last one written. A file holds plain values and tensors only
(Dassl's also pickle scheduler objects and numpy numbers) and is renamed into place when whole.
"""

from __future__ import annotations

import io
import os
import pickle
import random
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tai_dpt.errors import InputError, first_few
from tai_dpt.io.arrays import DAMAGED, check_zip
from tai_dpt.io.atomic import atomic_write
from tai_dpt.io.output import os_error
from tai_dpt.io.reading import first_line, json_kind

BEST = "model-best.pth.tar"
EPOCH_PREFIX = "model.pth.tar-"
LATEST = "checkpoint"  # the text file that names the last one written

PathLike = str | os.PathLike[str]
Report = Callable[[str], None]

# what a module, an optimizer or a generator lets out for a state of another form
_UNFIT = (ValueError, KeyError, TypeError, AttributeError)


class CheckpointNotFound(InputError, FileNotFoundError):
    """The checkpoint asked for does not exist; the message says which do."""


def save_checkpoint(
    state: Mapping[str, Any],
    save_dir: PathLike,
    is_best: bool = False,
    remove_module_from_keys: bool = True,
    model_name: str = "",
) -> list[Path]:
    """Write ``state`` (``state_dict``, ``epoch``, …) to ``save_dir`` and name it as the latest.

    ``model_name`` defaults to ``model.pth.tar-<epoch>``; ``is_best`` also writes
    ``model-best.pth.tar``. ``remove_module_from_keys`` drops DataParallel's prefix. Returns
    the files. Raises TypeError for a value that is neither plain nor a tensor, InputError if it
    cannot be written.
    """
    plain = {key: to_plain(value, where=key) for key, value in state.items()}
    if remove_module_from_keys:
        weights = plain["state_dict"]
        plain["state_dict"] = {key.removeprefix("module."): weights[key] for key in weights}
    names = [model_name or f"{EPOCH_PREFIX}{plain['epoch']}"]
    if is_best and BEST not in names:
        names.append(BEST)
    folder = Path(save_dir)
    content = io.BytesIO()  # not straight to a file: torch makes a RuntimeError of a full disk
    try:
        torch.save(plain, content)
        for name in names:
            with atomic_write(folder / name) as stream:
                stream.write(content.getbuffer())
        with atomic_write(folder / LATEST, "w", encoding="utf-8") as stream:
            stream.write(f"{names[0]}\n")
    except OSError as error:
        raise InputError(f"cannot write a checkpoint to {os_error(error, at=folder)}") from error
    return [folder / name for name in names]


def load_checkpoint(path: PathLike, *, report: Report = print) -> dict[str, Any]:
    """Read a checkpoint onto the CPU without running any code that it holds.

    Objects in files written by Dassl or by the public code (a pickled scheduler, a numpy
    ``val_result``) are left out, and so is each top-level entry that contains one; ``report``
    takes a line that names them. Raises CheckpointNotFound, or InputError for a file
    that is truncated or no checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointNotFound(f"no checkpoint at {path}{_what_exists(path.parent)}")
    try:
        return _load(path, report)
    except InputError as error:
        whole = next((p for p in _by_epoch(path.parent) if p != path and _is_whole(p)), None)
        way_out = "copy or write it again"
        if whole is not None:
            way_out = f"{whole.name} beside it is whole: remove {path.name} to go on from there"
        raise type(error)(f"{error}; {way_out}") from error


def _load(path: Path, report: Report) -> dict[str, Any]:
    """As ``load_checkpoint``, without advice."""
    try:
        with path.open("rb") as stream:
            zipped = stream.read(2) == b"PK"
        if zipped:  # before 1.6 torch wrote bare pickles, which have no checksum
            check_zip(path)
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:
            content = _load_without_objects(path, report)
    except (*DAMAGED, pickle.UnpicklingError) as error:
        raise InputError(
            f"{path} cannot be read as a checkpoint ({first_line(error)}): it is damaged, cut "
            "short or not one"
        ) from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}, not a checkpoint's dictionary")
    epoch, weights = content.get("epoch", 0), content.get("state_dict", {})
    results = [content.get(key) for key in ("val_result", "best_result")]
    fits = isinstance(epoch, int) and epoch >= 0 and isinstance(weights, dict)
    if not fits or not all(isinstance(r, int | float | None) for r in results):
        raise InputError(
            f"{path} is no checkpoint: its epoch, its result or its weights are something else"
        )
    for key, value in weights.items():
        if not isinstance(value, Tensor | dict):  # a module's extra state is one
            raise InputError(f"{path}: '{key}' in it is {json_kind(value)}, not a tensor")
        if isinstance(value, Tensor) and not torch.isfinite(value).all():
            raise InputError(f"{path}: '{key}' in it holds values that are no finite numbers")
    return content


def _nothing(line: str) -> None:
    """Report to nobody."""


def _by_epoch(folder: Path) -> Iterator[Path]:
    """The checkpoints of ``folder``, the last epoch first."""
    for epoch in reversed(saved_epochs(folder)):
        yield folder / f"{EPOCH_PREFIX}{epoch}"


def _is_whole(path: Path) -> bool:
    try:
        return "state_dict" in _load(path, report=_nothing)
    except InputError:
        return False


def resume_from_checkpoint(
    fdir: PathLike,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    scheduler: Any = None,
) -> int:
    """Restore model, optimizer and scheduler from the latest checkpoint in ``fdir``.

    Returns the number of epochs already trained. Errors as ``load_checkpoint`` and ``restore``.
    """
    path = latest_checkpoint(fdir)
    if path is None:
        raise CheckpointNotFound(f"no checkpoint in {fdir}{_what_exists(Path(fdir))}")
    print(f'Loading checkpoint from "{path}"')
    content = load_checkpoint(path)
    restore(content, path=path, model=model, optimizer=optimizer, scheduler=scheduler)
    print(f"Previous epoch: {content['epoch']}")
    return int(content["epoch"])


def restore(
    content: Mapping[str, Any],
    *,
    path: PathLike,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None,
    scheduler: Any,
) -> None:
    """Put a loaded checkpoint back into what it came from; ``path`` is named in errors.

    Raises InputError where the weights do not fit the model, or where the optimizer or schedule
    to go on with is missing (such a checkpoint can still be loaded for evaluation).
    """
    load_weights(content, path=path, model=model)
    for key, part in (("optimizer", optimizer), ("scheduler", scheduler)):
        if part is None:
            continue
        if not content.get(key):
            raise InputError(
                f"{path} holds no {key} state that can be read, so training cannot go on from "
                "it: evaluate it (--eval-only --model-dir), or train from scratch"
            )
        try:
            part.load_state_dict(content[key])
        except _UNFIT as error:
            raise InputError(
                f"{path}: its {key} does not fit this run ({first_line(error)}): evaluate it "
                "(--eval-only --model-dir), or train from scratch"
            ) from error


def load_weights(
    content: Mapping[str, Any], *, path: PathLike, model: nn.Module, name: str = "the model"
) -> None:
    """Load ``content["state_dict"]`` strictly; InputError names the file and what differs."""
    if "state_dict" not in content:
        raise InputError(f"{path} has no 'state_dict'; it holds: {first_few(content)}")
    try:
        model.load_state_dict(content["state_dict"])
    except (RuntimeError, *_UNFIT) as error:
        details = "; ".join(line.strip() for line in str(error).splitlines()[1:])
        raise InputError(
            f"{path} does not fit {name}: {details or error}. Use the configuration (classes, "
            "context length, backbone) that it was trained with"
        ) from error


def latest_checkpoint(folder: PathLike, *, report: Report = print) -> Path | None:
    """The checkpoint that ``folder``/checkpoint names, or None where there is no such file.

    Where it names none that is there (a crash left it empty, or the user removed a damaged one),
    the newest whole one, of which ``report`` takes a line.
    """
    pointer = Path(folder) / LATEST
    if not pointer.is_file():
        return None
    name = pointer.read_text(encoding="utf-8", errors="replace").strip()
    if name and Path(name).name == name and os.path.isfile(pointer.with_name(name)):
        return pointer.with_name(name)
    newest = next((path for path in _by_epoch(pointer.parent) if _is_whole(path)), None)
    if newest is None:
        raise CheckpointNotFound(
            f"{pointer} names no checkpoint{_what_exists(pointer.parent)}: remove it to start anew"
        )
    report(f"{pointer} names no checkpoint that is there: taking the newest whole one, {newest}")
    return newest


def saved_epochs(folder: PathLike) -> list[int]:
    """The epochs of which ``folder`` holds a ``model.pth.tar-<epoch>``, ascending."""
    pattern = re.compile(re.escape(EPOCH_PREFIX) + r"(\d+)")
    matches = (pattern.fullmatch(path.name) for path in Path(folder).glob(f"{EPOCH_PREFIX}*"))
    return sorted(int(match[1]) for match in matches if match)


def find_checkpoint(folder: PathLike, epoch: int | None = None, *, report: Report = print) -> Path:
    """The checkpoint to evaluate: that of ``epoch``, else the best one, else the latest one.

    Raises CheckpointNotFound, listing the epochs that exist.
    """
    folder = Path(folder)
    if epoch is not None:
        path: Path | None = folder / f"{EPOCH_PREFIX}{epoch}"
    elif (folder / BEST).is_file():
        path = folder / BEST
    else:
        path = latest_checkpoint(folder, report=report)
    if path is None or not path.is_file():
        wanted = path or f"{folder / BEST}, and no file '{LATEST}' there names one"
        raise CheckpointNotFound(f"no checkpoint at {wanted}{_what_exists(folder)}")
    return path


def to_plain(value: Any, *, where: str) -> Any:
    """``value`` with numpy numbers and arrays, mappings and parameters made plain.

    Raises TypeError, naming ``where``, for what a ``weights_only`` load would refuse.
    """
    if isinstance(value, Tensor):
        value = value.detach()
        # a view would be written with all the storage behind it
        shares = value.untyped_storage().nbytes() > value.numel() * value.element_size()
        return value.clone() if shares else value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return value
    if isinstance(value, Mapping):  # a CfgNode too
        return {key: to_plain(part, where=f"{where}.{key}") for key, part in value.items()}
    if isinstance(value, list | tuple):
        parts = [to_plain(part, where=f"{where}[{i}]") for i, part in enumerate(value)]
        return parts if isinstance(value, list) else tuple(parts)
    raise TypeError(f"checkpoint entry '{where}' is a {type(value).__name__}: give plain values")


def generator_states() -> dict[str, Any]:
    """The states of Python's, numpy's and torch's random generators, as plain values."""
    _, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002
    states: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": ("MT19937", np.asarray(keys).tolist(), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def set_generator_states(states: Mapping[str, Any], *, path: PathLike) -> None:
    """Restore what ``generator_states`` gave; CUDA's only where there are as many devices.

    Raises InputError, naming ``path``, for states of another form.
    """
    try:
        version, internal, gauss = states["python"]
        random.setstate((version, tuple(internal), gauss))
        name, keys, *rest = states["numpy"]
        np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))  # noqa: NPY002
        torch.set_rng_state(states["torch"])
    except (RuntimeError, OverflowError, *_UNFIT) as error:
        raise InputError(
            f"{path}: its random generators cannot be set ({first_line(error)}), so training "
            "cannot go on from it: evaluate it (--eval-only --model-dir), or train from scratch"
        ) from error
    cuda = states.get("cuda")
    if cuda and torch.cuda.is_available() and len(cuda) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(cuda)


def _what_exists(folder: Path) -> str:
    if not folder.is_dir():
        return f" (the folder {folder} does not exist)"
    epochs = saved_epochs(folder)
    best = [f"the best ({BEST})"] if (folder / BEST).is_file() else []
    listed = [*best, *([f"epochs {', '.join(map(str, epochs))}"] if epochs else [])]
    return f"; {folder} holds {' and '.join(listed)}" if listed else f"; {folder} holds none"


class _Unread:
    """Stands in for every object of a class that a safe load does not know."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> _Unread:
        return super().__new__(cls)

    def __setstate__(self, _state: Any) -> None:
        """Take any state and forget it."""


def _load_without_objects(path: Path, report: Report) -> Any:
    """A safe load in which each unknown class is replaced by one that does nothing."""
    names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    with torch.serialization.safe_globals([(_Unread, name) for name in names]):
        content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, dict):
        return content
    unread = [key for key, value in content.items() if _holds_unread(value)]
    report(f"{path}: left out {', '.join(unread)} (objects that are not loaded for safety)")
    return {key: value for key, value in content.items() if key not in unread}


def _holds_unread(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_holds_unread(part) for part in value.values())
    if isinstance(value, list | tuple | set):
        return any(_holds_unread(part) for part in value)
    return isinstance(value, _Unread)
