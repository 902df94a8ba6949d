"""(i) The feature store: random captions read from mapped safetensors and from bare arrays."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F

from benchmarks.common import (
    BATCH,
    RN50,
    TINY,
    Section,
    command,
    random_captions,
    seconds,
    side_by_side,
)
from tai_dpt.features import FeatureStore
from tai_dpt.features.build import StorePlan
from tai_dpt.features.options import StoreOptions
from tai_dpt.features.packed import PackedFeatures
from tai_dpt.features.shard_files import BareFile, SafetensorsFile
from tai_dpt.features.shards import ShardFolder


def write_store(folder: Path, lengths: list[int], width: int) -> FeatureStore:
    """A store of random features, as captions have them, in shards."""
    generator = torch.Generator().manual_seed(0)

    def encode(indices: list[int]) -> PackedFeatures:
        taken = torch.tensor([lengths[index] for index in indices])
        local = F.normalize(torch.randn(int(taken.sum()), width, generator=generator), dim=1)
        return PackedFeatures(local[taken.cumsum(0) - 1], local, taken)

    return StorePlan(
        key={"kind": "random"},
        count=len(lengths),
        embed_dim=width,
        encode=encode,
        lengths=lengths,
        global_is_last=True,
        options=StoreOptions(directory=folder, progress=None),
    ).open()


def bare_copy(store: FeatureStore, folder: Path) -> FeatureStore:
    """The same shards as version 0.1 wrote them: a page of JSON, then the rows."""
    shards = ShardFolder.read(folder)
    mapped = []
    for shard in range(shards.layout.shard_count):
        local, _ = shards.map(shard)
        path = folder / f"bare-{shard}.bin"
        record = SafetensorsFile(shards.shard_path(shard)).record().model_dump_json()
        path.write_bytes(record.encode().ljust(4096) + local.numpy().tobytes())
        mapped.append(BareFile(path).rows()[0])
    return FeatureStore(
        lengths=store.lengths,
        local=mapped,
        global_=None,
        embed_dim=store.embed_dim,
        precision=store.precision,
    )


@command("i", "Reading the feature store")
def main(section: Section, quick: bool) -> None:
    """Seconds to open a store and to read random batches, from both kinds of file in turns."""
    size, captions, batches = (TINY, 400, 4) if quick else (RN50, 40_000, 20)
    lengths = [len(tokens) for tokens in random_captions(captions)]
    chosen = torch.randint(
        captions, (batches, min(BATCH, captions)), generator=torch.Generator().manual_seed(1)
    )
    with tempfile.TemporaryDirectory() as folder:
        store = write_store(Path(folder), lengths, size.embed_dim)
        bare = bare_copy(store, Path(folder))

        def read(store: FeatureStore) -> None:
            for batch in chosen:
                store.packed(batch)

        times = side_by_side([lambda: read(store), lambda: read(bare)], 3 if quick else 9)
        opening = seconds(lambda: FeatureStore.open(folder))
    rows = [
        [name, 1000 * time / batches]
        for name, time in zip(("safetensors", "bare array"), times, strict=True)
    ]
    section.table(["file", "ms a batch"], rows)
    section.add(
        f"Batches of {chosen.shape[1]:,} random captions out of {captions:,} "
        f"({store.nbytes / 1e9:.2g} GB in half precision, from the page cache). Opening the store, "
        f"which checks every shard's record, takes {1000 * opening:.0f} ms."
    )


if __name__ == "__main__":
    main()
