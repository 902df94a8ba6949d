"""Which column of a table has the captions, and which the names of their images."""

from __future__ import annotations

from collections.abc import Sequence

from tai_dpt.datasets.corpora.records import called
from tai_dpt.errors import InputError, first_few, shorten

_IMAGE_COLUMNS = ("image_id", "image", "image_name", "file_name", "filename")


def caption_column(name: str, header: Sequence[str], field: str | int) -> tuple[int, int]:
    """Where a table has its captions, and its images' names (-1: nowhere).

    Raises:
        InputError: no such column, or several of that name.
    """
    if isinstance(field, int):
        if not 0 <= field < len(header):
            raise InputError(
                f"{name}: no column number {field}; there are {len(header)}, counted from 0"
            )
        return field, -1
    header = [cell.strip() for cell in header]
    key = called(field, header)
    if key is None:
        raise InputError(
            f"{name}: no column '{field}'; the first line has: {shorten(', '.join(header), 80)} "
            "(give the column's number from 0 where there is no header)"
        )
    alike = [at for at, cell in enumerate(header) if cell.casefold() == key.casefold()]
    if header.count(key) > 1 or (key != field and len(alike) > 1):
        raise InputError(
            f"{name}: {len(alike)} columns are called {first_few(header[at] for at in alike)}; say "
            f"which by its number from 0 ({first_few(alike)})"
        )
    images = [header.index(key) for key in (called(c, header) for c in _IMAGE_COLUMNS) if key]
    return header.index(key), images[0] if images else -1
