"""Reading arrays from hands unknown: ``.npz`` and safetensors, held against shapes and kinds."""

from __future__ import annotations

import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tai_dpt.errors import InputError
from tai_dpt.io.console import as_text
from tai_dpt.io.opening import check_file, open_file
from tai_dpt.io.reading import first_line, then

if TYPE_CHECKING:
    from torch import Tensor

_KINDS = {
    **{"f": "fractions", "i": "whole numbers", "iu": "whole numbers", "U": "texts"},
    **{"b": "yes or no", "biuf": "numbers"},
}

# what numpy, zipfile and zlib let out for bytes that were changed, and for a size that is a lie
DAMAGED = (
    *(OSError, ValueError, TypeError, EOFError, LookupError, MemoryError, RuntimeError),
    *(ArithmeticError, SyntaxError, tokenize.TokenError, struct.error),
    *(zipfile.BadZipFile, zlib.error),
)


class ArraySpec(NamedTuple):
    """What an array must be.

    Attributes:
        kind: numpy's letters for it, a key of ``_KINDS``; fractions are to be finite.
        shape: a number, or a name that stands for the same number in all arrays of the file.
    """

    kind: str
    shape: tuple[int | str, ...]


def read_npz(
    path: str | os.PathLike[str], wanted: Mapping[str, ArraySpec], *, remedy: str = ""
) -> dict[str, NDArray[Any]]:
    """The arrays ``wanted`` of a ``.npz`` file, by name; never a pickled object.

    Raises:
        InputError: there is no such file, it cannot be read, or as in ``check_arrays``.
    """
    arrays = _read_numpy(path, ".npz", wanted, remedy)
    check_arrays(arrays, wanted, where=str(path), remedy=remedy)
    return arrays


def read_npy(path: str | os.PathLike[str], wanted: ArraySpec, *, remedy: str = "") -> NDArray[Any]:
    """The one array of a ``.npy`` file; errors as in ``read_npz``."""
    arrays = _read_numpy(path, ".npy", ("array",), remedy)
    check_arrays(arrays, {"array": wanted}, where=str(path), remedy=remedy)
    return arrays["array"]


def _read_numpy(
    path: str | os.PathLike[str], ending: str, wanted: Iterable[str], remedy: str
) -> dict[str, NDArray[Any]]:
    """Those of the arrays ``wanted`` that a file holds; the one of ``.npy`` is whatever asked."""
    with open_file(path, remedy=remedy) as stream:
        try:
            start = stream.read(6)
            if not start.startswith(b"PK" if ending == ".npz" else b"\x93NUMPY"):
                raise ValueError("it does not begin like one")
            stream.seek(0)
            content = np.load(stream, allow_pickle=False)
            if ending == ".npy":
                return dict.fromkeys(wanted, content)
            return {name: content[name] for name in wanted if name in content.files}
        except DAMAGED as error:
            raise InputError(
                f"{path} cannot be read as {ending} ({first_line(error)}){then(remedy)}"
            ) from None


@contextmanager
def open_safetensors(path: str | os.PathLike[str]) -> Iterator[Any]:
    """A safetensors file, as ``safe_open`` gives it, who takes no name that is no text."""
    from safetensors import safe_open

    with ExitStack() as stack:
        place = os.fspath(path)
        if as_text(place) != place:
            place = f"/proc/self/fd/{stack.enter_context(open(path, 'rb')).fileno()}"
        yield stack.enter_context(safe_open(place, framework="pt"))


def read_safetensors(path: str | os.PathLike[str], *, remedy: str = "") -> dict[str, Tensor]:
    """All tensors of a safetensors file.

    Raises:
        InputError: there is no such file, or it cannot be read.
    """
    from safetensors import SafetensorError

    check_file(path, remedy=remedy)
    try:
        with open_safetensors(path) as stream:
            return {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except (SafetensorError, *DAMAGED) as error:
        raise InputError(f"{path} cannot be read ({first_line(error)}){then(remedy)}") from None


def check_zip(path: str | os.PathLike[str]) -> None:
    """Hold every member of a zip file against its checksum: torch does not look at them.

    Raises:
        OSError: one differs, or the file is no whole zip file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except DAMAGED as error:
        raise OSError(f"it is cut short or damaged: {first_line(error)}") from error
    if damaged:
        raise OSError(f"'{damaged}' in it does not have its checksum")


def check_arrays(
    arrays: Mapping[str, Any], wanted: Mapping[str, ArraySpec], *, where: str, remedy: str = ""
) -> None:
    """Hold numpy arrays or torch tensors against what they must be.

    Raises:
        InputError: one is missing, of another kind or shape than ``wanted`` and the arrays before
            it say, or holds what is no finite number.
    """
    missing = [name for name in wanted if name not in arrays]
    if missing:
        raise InputError(f"{where}: it lacks '{missing[0]}'{then(remedy)}")
    sizes: dict[str, int] = {}
    for name, (kind, shape) in wanted.items():
        array = as_array(arrays[name])
        if array.dtype.kind not in kind:
            raise InputError(
                f"{where}: '{name}' holds {array.dtype}, wanted {_KINDS[kind]}{then(remedy)}"
            )
        expected = [sizes.get(side, side) if isinstance(side, str) else side for side in shape]
        sides = list(zip(expected, array.shape, strict=False))
        if len(array.shape) != len(shape) or any(
            isinstance(side, int) and side != length for side, length in sides
        ):
            named, counted = (f"({', '.join(map(str, sides))})" for sides in (shape, expected))
            raise InputError(
                f"{where}: '{name}' has the shape {array.shape}, wanted "
                f"{named if named == counted else f'{named} = {counted}'}{then(remedy)}"
            )
        sizes |= {side: length for side, length in sides if isinstance(side, str)}
        if kind == "f" and not np.isfinite(array).all():
            raise InputError(
                f"{where}: '{name}' holds {np.count_nonzero(~np.isfinite(array)):,} values that "
                f"are no finite numbers{then(remedy)}"
            )


def as_array(values: Any) -> NDArray[Any]:
    """A numpy array of an array or tensor; numpy has no bfloat16, so that becomes float32."""
    if isinstance(values, np.ndarray):
        return values
    values = values.detach().cpu()
    array: NDArray[Any] = (values.float() if values.is_floating_point() else values).numpy()
    return array
