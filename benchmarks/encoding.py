"""(c) How fast captions are encoded, against the machine's own matrix products."""

from __future__ import annotations

import torch

from benchmarks.common import (
    COCO_CAPTIONS,
    RN50,
    TINY,
    Section,
    command,
    linear_layers,
    operators,
    random_captions,
    side_by_side,
)
from tai_dpt.backbones.text import TOKENS_AT_ONCE
from tai_dpt.features.encode import plan_batches


@command("c", "Encoding captions")
def main(section: Section, quick: bool) -> None:
    """Batches as the feature store cuts them, against the same linear layers alone."""
    size, limits = (TINY, (64,)) if quick else (RN50, (1024, 2048, 4096, 8192))
    texts = random_captions(64 if quick else 20_000)
    lengths = torch.tensor([len(text) for text in texts])
    rows = []
    profiled = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        text = size.backbone(dtype).text
        for limit in limits:
            batches = plan_batches(lengths, batch_rows=limit, batch_items=512)
            middle = [texts[i] for i in batches[len(batches) // 2]]  # of the commonest lengths
            tokens = sum(map(len, middle))
            encode = lambda: text.encode_packed(middle, tokens_per_batch=limit)  # noqa: B023, E731
            ours, products = side_by_side(
                [encode, linear_layers(size, tokens, dtype)], 3 if quick else 6
            )
            if limit == TOKENS_AT_ONCE or quick:
                profiled[name] = operators(encode, most=6)
            rate = tokens * size.flops_per_token / products / 1e9
            per_second = tokens / ours / float(lengths.float().mean())
            rows.append(
                [
                    name, limit, f"{tokens / ours:,.0f}", f"{per_second:,.0f}",
                    f"{COCO_CAPTIONS / per_second / 60:.1f} min",
                    f"{rate:,.0f}", f"{products / ours:.0%}",
                ]
            )  # fmt: skip
    section.table(
        [
            "precision", "tokens a batch", "tokens/s", "captions/s", "all of COCO's",
            "GFLOP/s of the products", "share reached",
        ],
        rows,
    )  # fmt: skip
    section.add(
        "*Share reached*: the time of the linear layers' matrix products alone, on as many rows, "
        "divided by the encoder's. The rest is attention, normalisation, activation and the "
        f"projection of every token. The store uses {TOKENS_AT_ONCE:,} tokens a batch. With bf16 "
        "in hardware the products become so fast that the rest, which has no such hardware, takes "
        "a third to half of the time: that is the limit there."
    )
    for name, found in profiled.items():
        section.add(f"What the encoder spends its time on in {name}, by operator:")
        section.table(["operator", "share of CPU time", "calls"], found)


if __name__ == "__main__":
    main()
