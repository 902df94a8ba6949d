"""The door to pyarrow, which is an extra."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tai_dpt.errors import InputError
from tai_dpt.io.opening import check_file
from tai_dpt.io.reading import first_line


def pyarrow(module: str = "pyarrow", *, needed_by: str = "Parquet") -> Any:
    """``module`` of pyarrow.

    Raises:
        InputError: it is not installed; ``needed_by`` says what for.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise InputError(f"{needed_by} needs pyarrow: pip install 'tai-dpt[parquet]'") from None


@contextmanager
def open_parquet(name: str) -> Iterator[Any]:
    """A Parquet file, as pyarrow's ``ParquetFile``, to be read in a ``with``.

    Raises:
        InputError: pyarrow is not installed, there is no such file, or what is read of it is
            damaged or no Parquet.
    """
    parquet = pyarrow("pyarrow.parquet", needed_by=name)
    check_file(name)
    try:
        with parquet.ParquetFile(name) as file:
            yield file
    except (pyarrow().ArrowException, OSError, UnicodeDecodeError) as error:
        reason = first_line(error).rstrip(".")
        raise InputError(f"cannot read {name} as Parquet: {reason}; is it whole?") from None
