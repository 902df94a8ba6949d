"""The door to pyarrow, which is an extra."""

from __future__ import annotations

import importlib
from typing import Any

from tai_dpt.errors import InputError
from tai_dpt.io.opening import check_file


def pyarrow(module: str = "pyarrow", *, needed_by: str = "Parquet") -> Any:
    """``module`` of pyarrow.

    Raises:
        InputError: it is not installed; ``needed_by`` says what for.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise InputError(f"{needed_by} needs pyarrow: pip install 'tai-dpt[parquet]'") from None


def open_parquet(name: str) -> Any:
    """A Parquet file, as pyarrow's ``ParquetFile``.

    Raises:
        InputError: pyarrow is not installed, there is no such file, or it is no Parquet file.
    """
    parquet = pyarrow("pyarrow.parquet", needed_by=name)
    check_file(name)
    try:
        return parquet.ParquetFile(name)
    except (pyarrow().ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"cannot read {name} as Parquet: {reason}; is it whole?") from None
