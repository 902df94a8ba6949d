"""Captions in the columns of a Parquet file, as large collections are published."""

from __future__ import annotations

from tai_dpt.datasets.corpora.columns import caption_column
from tai_dpt.datasets.corpora.records import Bad, Entries, record, texts_of
from tai_dpt.io.parquet import open_parquet

PARQUET = "parquet"
_ROWS_AT_ONCE = 10_000


def parquet_entries(name: str, field: str | int) -> Entries:
    """The captions of a Parquet file, one or a list of them a row, some thousand rows at a time.

    Raises:
        InputError: pyarrow is not installed, there is no such file, it is no Parquet file or has
            no such column.
    """
    with open_parquet(name) as file:
        names = file.schema_arrow.names
        column, image = caption_column(name, names, field)
        wanted = [names[column]] + ([names[image]] if image >= 0 else [])
        number = 0
        for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=wanted):
            images = batch[names[image]].to_pylist() if image >= 0 else [None] * len(batch)
            for value, of in zip(batch[names[column]].to_pylist(), images, strict=True):
                place = f"row {number}"
                number += 1
                captions = texts_of([] if value is None else value)  # None: as a blank line
                if captions is None:
                    yield Bad(place, f"column '{names[column]}' is {str(value)[:40]}, not text")
                    continue
                for caption in captions:
                    yield record(caption, None if of is None else str(of), place)
