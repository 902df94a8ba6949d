"""One shard as a file: rows that are mapped into memory, and a record of what they are.

``.safetensors`` holds the tensors ``local`` and, where they are kept apart, ``global``, with the
record as JSON in its metadata: any program can open it, and reading random rows takes as long as
from a bare array (benchmarks/RESULTS.md, "store"). ``.bin`` is what version 0.1 wrote: a page of
JSON, then the bare rows. Such files are read and no longer made.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Protocol

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor

from tai_dpt.errors import InputError
from tai_dpt.features.precisions import PRECISIONS, PrecisionName
from tai_dpt.io.arrays import open_safetensors
from tai_dpt.io.atomic import atomic_write
from tai_dpt.io.reading import Count, Record, checked, parse_json

_PAGE = 4096  # of a .bin file, so that its rows stay aligned
_TYPES = {"fp16": "F16", "fp32": "F32", "int8": "I8"}  # safetensors' names


class ShardRecord(Record):
    """What is written beside the rows."""

    store: str  # the layout's digest
    shard: Count
    items: tuple[Count, Count]  # the first, and the one behind the last
    rows: tuple[Count, Count]  # local and separate global ones
    embed_dim: Annotated[int, Field(ge=1)]
    precision: PrecisionName
    crc32: Count
    written: Annotated[int, Field(ge=0, lt=1 << 32)]  # seconds since 1970


class ShardFile(Protocol):
    """Both kinds. The rows of a file are of what its record says, or ``record`` raises."""

    path: Path

    def record(self) -> ShardRecord:
        """What was written beside the rows. OSError: it cannot be read; InputError: damage."""

    def rows(self) -> tuple[Tensor, Tensor]:
        """Local rows (T, D) and separate global rows (items or 0, D), memory-mapped.

        The mapping is private: writing to the tensors never reaches the file.
        """


def shard_file(folder: Path, name: str) -> ShardFile:
    """The file of a shard that is there; where none is, the one to write."""
    old = BareFile(folder / f"{name}.bin")
    new = SafetensorsFile(folder / f"{name}.safetensors")
    return old if old.path.exists() and not new.path.exists() else new


class SafetensorsFile:
    """What is written now."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def record(self) -> ShardRecord:
        self.path.stat()  # its own complaint, where the file cannot be had
        try:
            with open_safetensors(self.path) as content:
                record = _as_record((content.metadata() or {}).get("record", ""))
                for name, count in zip(("local", "global"), record.rows, strict=True):
                    if not count:
                        continue
                    part = content.get_slice(name)
                    kind = part.get_dtype(), list(part.get_shape())
                    width = PRECISIONS[record.precision].width(record.embed_dim)
                    if kind != (_TYPES[record.precision], [count, width]):
                        raise InputError(f"'{name}' is {kind[0]} {kind[1]}")
                return record
        except SafetensorError as error:
            raise InputError(str(error)) from None

    def rows(self) -> tuple[Tensor, Tensor]:
        with open_safetensors(self.path) as content:
            parts = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
        return parts["local"], parts.get("global", parts["local"][:0])

    def write(self, record: Mapping[str, Any], local: Tensor, global_: Tensor | None) -> None:
        """Write it, whole or not at all."""
        parts = {"local": local} if global_ is None else {"local": local, "global": global_}
        content = save(parts, metadata={"record": json.dumps(record)})
        with atomic_write(self.path) as stream:
            stream.write(content)


class BareFile:
    """As version 0.1 wrote it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def record(self) -> ShardRecord:
        with self.path.open("rb") as stream:
            record = _as_record(stream.read(_PAGE).decode(errors="replace"))
        size = _PAGE + sum(record.rows) * PRECISIONS[record.precision].row_bytes(record.embed_dim)
        found = self.path.stat().st_size
        if found != size:
            raise InputError(f"its size is {found} bytes, not {size}")
        return record

    def rows(self) -> tuple[Tensor, Tensor]:
        record = self.record()
        size = self.path.stat().st_size
        # Closes its file, where numpy.memmap holds one descriptor per shard.
        whole = torch.from_file(str(self.path), shared=False, size=size, dtype=torch.uint8)
        precision = PRECISIONS[record.precision]
        rows = whole[_PAGE:].view(precision.dtype).view(-1, precision.width(record.embed_dim))
        local = record.rows[0]
        return rows[:local], rows[local:]


def _as_record(text: str) -> ShardRecord:
    return checked(ShardRecord, parse_json(text, where="its record"), where="its record")


def checksum(*parts: Tensor) -> int:
    """CRC-32 of rows, one part after the other."""
    found = 0
    for rows in parts:
        found = zlib.crc32(rows.numpy().data, found)
    return found
