"""OpenAI's CLIP architecture, empty: for training a small CLIP from nothing.

Loading trained weights is `tai_dpt.backbones.load_backbone`'s duty; here is only what a training
script needs of the `clip` package.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tai_dpt.backbones.clip_package import clip_class, tokenizer

CONTEXT_LENGTH = 77
VOCAB_SIZE = 49408
START_TOKEN = 49406
END_TOKEN = 49407


def new_resnet_clip(
    *,
    embed_dim: int,
    image_size: int,
    vision_layers: tuple[int, int, int, int],
    vision_width: int,
    vocab_size: int,
    text_width: int,
    text_heads: int,
    text_layers: int,
    context_length: int = CONTEXT_LENGTH,
) -> Any:
    """Build a randomly initialised CLIP with a ModifiedResNet image tower, fp32.

    `image_size` must be a multiple of 32, and `text_heads` must be ``text_width // 64`` for
    OpenAI's loader to recover the sizes from the weights.
    """
    if image_size % 32:
        raise ValueError(f"image_size {image_size} is not a multiple of 32")
    if text_heads != text_width // 64:
        raise ValueError(f"text_heads {text_heads} must be text_width // 64 = {text_width // 64}")
    return clip_class()(
        embed_dim,
        image_size,
        vision_layers,
        vision_width,
        None,
        context_length,
        vocab_size,
        text_width,
        text_heads,
        text_layers,
    )


def token_ids(texts: Sequence[str]) -> list[list[int]]:
    """OpenAI's byte-pair tokens of each text, without start and end tokens."""
    return [tokenizer().encode(text) for text in texts]


def encode_text(model: Any, tokens: Tensor, ends: Tensor) -> Tensor:
    """Text features of right-padded `tokens` (B, L), L ≤ the context length.

    The encoder is causal, so cutting the padding off changes no number. `ends` (B,) is the
    position of each text's end token. Returns (B, D), not normalised.
    """
    length = tokens.shape[1]
    x = model.token_embedding(tokens) + model.positional_embedding[:length]  # (B, L, W)
    x = x.permute(1, 0, 2)  # (L, B, W)
    mask = torch.full((length, length), float("-inf"), device=x.device).triu_(1)
    for block in model.transformer.resblocks:
        normed = block.ln_1(x)
        x = x + block.attn(normed, normed, normed, need_weights=False, attn_mask=mask)[0]
        x = x + block.mlp(block.ln_2(x))
    x = model.ln_final(x.permute(1, 0, 2))
    embeddings: Tensor = x[torch.arange(len(x), device=x.device), ends] @ model.text_projection
    return embeddings
