"""A feature store on disk: a manifest and a folder of checked shards.

    manifest.json              what the features were made from, and where shards are cut
    lengths.npy                local features of each item, int32; absent where all have as many
    shard-00000.safetensors    local rows and, where they are kept apart, the global ones; the
                               shard's record, with their checksum, in its metadata
    …

A shard is written to a temporary name and renamed, so a file of its name is a whole shard: there
is no half-written state to repair after a kill. Its modification time is set to the one in its
record. Where the two still agree nobody has touched the file and opening it reads one page; where
they differ (edited, copied, unpacked) its checksum is computed.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from tai_dpt.errors import InputError
from tai_dpt.features.packed import row_offsets
from tai_dpt.features.precisions import PRECISIONS, PrecisionName
from tai_dpt.features.shard_files import SafetensorsFile, checksum, shard_file
from tai_dpt.io.arrays import ArraySpec, read_npy
from tai_dpt.io.atomic import atomic_write
from tai_dpt.io.opening import check_file
from tai_dpt.io.reading import Count, Finite, Record, checked, read_json

KeyValue = str | int | float | bool

# 1 is version 0.1's, with shards in .bin; a store may have shards of both
_FORMAT: Literal["tai_dpt feature store 2"] = "tai_dpt feature store 2"

MISSING = "it is missing"  # a shard's fault, see ShardFolder.fault

_MOST_ITEMS = 1 << 28  # that a manifest may speak of: their lengths take 2 GB


class _Lengths(Record):
    """Of items that differ in length: ``lengths.npy`` has them."""

    sum: Count
    crc32: Count


class _Identity(Record):
    """``Layout.identity``."""

    key: dict[str, bool | int | Finite | str]
    items: Annotated[int, Field(ge=0, le=_MOST_ITEMS)]
    lengths: Annotated[int, Field(ge=1, le=1 << 20)] | _Lengths
    embed_dim: Annotated[int, Field(ge=1, le=1 << 20)]
    precision: PrecisionName
    global_: Annotated[Literal["last local", "own"], Field(alias="global")]


class _Manifest(Record):
    """``manifest.json``."""

    format: Literal["tai_dpt feature store 1", "tai_dpt feature store 2"]
    identity: _Identity
    about: dict[str, str] = Field(default_factory=dict)
    complete: bool
    bounds: tuple[Count, ...]

    @model_validator(mode="after")
    def _whole(self) -> _Manifest:
        pairs = pairwise(self.bounds)
        ends = (*self.bounds[:1], *self.bounds[-1:])
        if ends != (0, self.identity.items) or any(one >= two for one, two in pairs):
            raise ValueError("'bounds' do not cut its items into shards")
        return self


@dataclass(frozen=True)
class Layout:
    """All that is fixed about a store before anything is encoded."""

    key: Mapping[str, KeyValue]
    lengths: Tensor  # (N,) int64
    embed_dim: int
    precision: str
    global_is_last: bool
    bounds: tuple[int, ...]  # shard s holds items bounds[s] … bounds[s + 1] − 1

    @staticmethod
    def plan(
        *,
        key: Mapping[str, KeyValue],
        lengths: Tensor,
        embed_dim: int,
        precision: str,
        global_is_last: bool,
        shard_bytes: int,
    ) -> Layout:
        """Cut items into shards of at most ``shard_bytes`` each (one item always fits)."""
        layout = Layout(key, lengths, embed_dim, precision, global_is_last, (0, len(lengths)))
        ends = row_offsets(layout.item_bytes)
        bounds = [0]
        while bounds[-1] < len(lengths):
            limit = ends[bounds[-1]] + shard_bytes
            fitting = int(torch.searchsorted(ends, limit, right=True)) - 1
            bounds.append(max(fitting, bounds[-1] + 1))
        return replace(layout, bounds=tuple(bounds))

    @property
    def row_bytes(self) -> int:
        return PRECISIONS[self.precision].row_bytes(self.embed_dim)

    @property
    def shard_count(self) -> int:
        return len(self.bounds) - 1

    @property
    def item_bytes(self) -> Tensor:
        """Bytes each item takes, (N,)."""
        rows = self.lengths if self.global_is_last else self.lengths + 1
        return rows * self.row_bytes

    @property
    def nbytes(self) -> int:
        return int(self.item_bytes.sum())

    @cached_property
    def offsets(self) -> Tensor:
        """Where each item's local rows begin in the whole store, (N + 1,)."""
        return row_offsets(self.lengths)

    def shard_items(self, shard: int) -> Tensor:
        return torch.arange(self.bounds[shard], self.bounds[shard + 1])

    def shard_rows(self, shard: int) -> tuple[int, int]:
        """How many local rows and how many separate global rows a shard has."""
        first, end = self.bounds[shard], self.bounds[shard + 1]
        rows = int(self.offsets[end] - self.offsets[first])
        return rows, 0 if self.global_is_last else end - first

    def shard_bytes(self, shard: int) -> int:
        return sum(self.shard_rows(shard)) * self.row_bytes

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What determines the stored bytes, apart from where shards are cut."""
        return {
            "key": dict(self.key),
            "items": len(self.lengths),
            "lengths": describe_lengths(self.lengths),
            "embed_dim": self.embed_dim,
            "precision": self.precision,
            "global": "last local" if self.global_is_last else "own",
        }

    @cached_property
    def digest(self) -> str:
        """Short name of the whole layout: each shard's record carries it."""
        return digest({**self.identity, "bounds": list(self.bounds)})

    def require_key(self, key: Mapping[str, KeyValue], directory: Path) -> None:
        """Raise InputError, naming what differs, unless this layout was made for ``key``."""
        require_same({"key": dict(key)}, {"key": dict(self.key)}, directory)


def describe_lengths(lengths: Tensor) -> Any:
    """Lengths as the manifest says them: the one number they share, or their sum and checksum."""
    if len(lengths) and bool((lengths == lengths[0]).all()):
        return int(lengths[0])
    crc = zlib.crc32(lengths.numpy().astype("<i4").tobytes())
    return {"sum": int(lengths.sum()), "crc32": crc}


def digest(value: Any) -> str:
    """Twelve hexadecimal digits that name a JSON value."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def require_same(asked: Mapping[str, Any], stored: Mapping[str, Any], directory: Path) -> None:
    """Raise InputError, naming every entry that differs, unless the two identities agree."""
    ours, theirs = _flat(asked), _flat(stored)
    differing = [
        f"{name} is {theirs.get(name, '(absent)')!r} there, {ours.get(name, '(absent)')!r} here"
        for name in sorted(ours.keys() | theirs.keys())
        if ours.get(name) != theirs.get(name)
    ]
    if differing:
        raise InputError(
            f"the feature store {directory} holds other features: {'; '.join(differing)}."
            " Give another folder, or delete this one to build it anew"
        )


def _flat(identity: Mapping[str, Any]) -> dict[str, Any]:
    rest = {name: value for name, value in identity.items() if name != "key"}
    return {**{f"key {name!r}": value for name, value in identity["key"].items()}, **rest}


class ShardFolder:
    """The files of one store: writing, checking and mapping its shards."""

    def __init__(
        self,
        path: Path,
        layout: Layout,
        *,
        complete: bool = False,
        about: Mapping[str, str] | None = None,
    ) -> None:
        self.path = path
        self.layout = layout
        self.about = about or {}  # for people; not compared
        self.complete = complete  # every shard was there once, so a missing one is a loss

    # -- manifest ---------------------------------------------------------------------------

    @classmethod
    def read(cls, path: Path) -> ShardFolder:
        """Read a store's manifest.

        Raises:
            InputError: there is none, or it cannot be read.
        """
        manifest_path = path / "manifest.json"
        if not manifest_path.exists():
            raise ManifestError(f"no feature store in {path}: {manifest_path.name} is missing")
        try:
            manifest = checked(_Manifest, read_json(manifest_path), where=str(manifest_path))
            stored = manifest.identity
            if isinstance(stored.lengths, int):
                lengths = torch.full((stored.items,), stored.lengths, dtype=torch.int64)
            else:
                array = read_npy(path / "lengths.npy", ArraySpec("i", ("items",)))
                lengths = torch.from_numpy(array.astype(np.int64))
            layout = Layout(
                key=stored.key,
                lengths=lengths,
                embed_dim=stored.embed_dim,
                precision=stored.precision,
                global_is_last=stored.global_ == "last local",
                bounds=manifest.bounds,
            )
            if layout.identity != stored.model_dump(by_alias=True):
                raise InputError(f"{path / 'lengths.npy'} does not match {manifest_path}")
        except InputError as error:
            raise ManifestError(str(error)) from None
        return cls(path, layout, complete=manifest.complete, about=manifest.about)

    def write_manifest(self) -> None:
        """Write lengths and manifest; the manifest last, because it makes the folder a store."""
        stored = self.layout.identity["lengths"]
        if not isinstance(stored, int):
            with atomic_write(self.path / "lengths.npy") as stream:
                np.save(stream, self.layout.lengths.numpy().astype("<i4"))
        manifest = {
            "format": _FORMAT,
            "identity": self.layout.identity,
            "about": dict(self.about),
            "complete": self.complete,
            "bounds": self.layout.bounds,
        }
        with atomic_write(self.path / "manifest.json", "w", encoding="utf-8") as stream:
            json.dump(manifest, stream, indent=1, ensure_ascii=False)
            stream.write("\n")

    # -- shards -----------------------------------------------------------------------------

    def shard_path(self, shard: int) -> Path:
        return shard_file(self.path, _name(shard)).path

    def write(self, shard: int, local: Tensor, global_: Tensor | None) -> None:
        """Write one shard, whole or not at all."""
        parts = (local,) if global_ is None else (local, global_)
        written = int(time.time())  # whole seconds: every file system keeps them
        record = {**self._record(shard), "crc32": checksum(*parts), "written": written}
        path = self.path / f"{_name(shard)}.safetensors"
        SafetensorsFile(path).write(record, local, global_)
        with suppress(OSError):  # at the cost of a checksum at every opening
            os.utime(path, (written, written))
        path.with_suffix(".bin").unlink(missing_ok=True)  # a damaged one of version 0.1

    def fault(self, shard: int, *, verify: bool = False) -> str | None:
        """What is wrong with a shard's file; None: nothing."""
        file = shard_file(self.path, _name(shard))
        try:
            status = file.path.stat()
            check_file(file.path)
            record = file.record()
            if record.model_dump(exclude={"crc32", "written"}) != self._record(shard):
                return "it belongs to another store"
            touched = status.st_mtime_ns != record.written * 10**9
            if (verify or touched) and checksum(*file.rows()) != record.crc32:
                return "its checksum is wrong"
        except FileNotFoundError:
            return MISSING
        except OSError as error:
            return f"it cannot be read ({error.strerror})"
        except InputError as error:
            return f"it is damaged ({error})"
        if touched:
            with suppress(OSError):  # not ours to write: its checksum is computed every time
                os.utime(file.path, (record.written, record.written))
        return None

    def require_all(self, *, verify: bool = False) -> None:
        """Raise InputError, naming them, if shards are missing or damaged."""
        faults = {
            shard: reason
            for shard in range(self.layout.shard_count)
            if (reason := self.fault(shard, verify=verify)) is not None
        }
        if faults:
            first, reason = next(iter(faults.items()))
            others = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
            raise InputError(
                f"{self.shard_path(first)}: {reason}{others}; build the store again to make"
                " what is missing"
            )

    def map(self, shard: int) -> tuple[Tensor, Tensor]:
        """A shard's local rows (T, D) and separate global rows (items or 0, D), memory-mapped."""
        return shard_file(self.path, _name(shard)).rows()

    def remove_leftovers(self, rank: int, world: int) -> None:
        """Delete what killed writers left. Only while holding the rank's lock."""
        names = [_name(shard) for shard in range(rank, self.layout.shard_count, world)]
        if world == 1:
            names += ["manifest", "lengths"]
        for leftover in self.path.glob(".*.tmp"):  # as atomic_write calls them
            if any(leftover.name.startswith(f".{name}.") for name in names):
                with suppress(FileNotFoundError):
                    leftover.unlink()

    def _record(self, shard: int) -> dict[str, Any]:
        return {
            "store": self.layout.digest,
            "shard": shard,
            "items": self.layout.bounds[shard : shard + 2],
            "rows": self.layout.shard_rows(shard),
            "embed_dim": self.layout.embed_dim,
            "precision": self.layout.precision,
        }


def _name(shard: int) -> str:
    return f"shard-{shard:05d}"


class ManifestError(InputError):
    """A folder without a readable manifest."""
