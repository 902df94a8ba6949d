"""Towers that are run by the library they come from, because they are not of CLIP's shape.

What such a tower can do it states: whether every token of a caption has a feature, and whether
there are features of places in an image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tai_dpt.backbones.linear import freeze_linear_layers
from tai_dpt.backbones.text import TOKENS_AT_ONCE, FrozenText, batches_of_like_length
from tai_dpt.errors import InputError
from tai_dpt.features import PackedFeatures


class _Frozen(nn.Module):
    """Stays in eval mode inside a model that is trained: towers of libraries have dropout."""

    def train(self, mode: bool = True) -> _Frozen:
        super().train(False)
        return self


class LibraryText(FrozenText, _Frozen):
    """A text tower that sees both ways, or pools in its own way: one feature for a text."""

    causal = False
    every_token = False

    def __init__(
        self,
        module: nn.Module,
        *,
        encode: Callable[[Tensor], Any],
        embedding: nn.Module,
        context_length: int,
        pad_id: int,
        sees_padding: bool,
        closing: Sequence[int] = (),
    ) -> None:
        """
        Args:
            module: holds the tower's weights.
            encode: token ids (B, L) to features (B, D).
            embedding: the layer that looks token ids up.
            context_length: the most tokens a text may have; as many are tried at once.
            pad_id: fills shorter texts.
            sees_padding: whether the features depend on the padding, as SigLIP's do.
            closing: ids that stand behind the padding, beyond ``context_length``.
        """
        super().__init__()
        self.module = module
        freeze_linear_layers(module)
        self._run, self._embedding = encode, [embedding]  # a list: not a second submodule
        self.context_length = context_length
        self.pad_id = pad_id
        self.sees_padding = sees_padding
        self._closing = list(closing)
        with torch.no_grad():
            probe = self._padded([[1 if pad_id != 1 else 2] * context_length])
            self.embed_dim = int(self._encode(probe).shape[1])

    @property
    def token_table(self) -> Tensor:  # type: ignore[override]
        weight = self._embedding[0].weight
        assert isinstance(weight, Tensor)
        return weight

    def rows_of(self, length: int) -> int:
        """How many positions a text of so many tokens costs."""
        return self.context_length if self.sees_padding else length

    def local_lengths(self, texts: Sequence[Sequence[int]]) -> list[int]:
        """How many local features each text has: its global one."""
        return [1] * len(texts)

    @torch.no_grad()
    def encode_packed(
        self, texts: Sequence[Sequence[int]], *, tokens_per_batch: int = TOKENS_AT_ONCE
    ) -> PackedFeatures:
        """As of ``TextEncoder``; the only local feature of a text is its global one."""
        features = torch.empty(len(texts), self.embed_dim, device=self.device)
        for rows in batches_of_like_length(texts, max(tokens_per_batch, self.context_length)):
            ids = self._padded([texts[row] for row in rows])
            features[rows] = F.normalize(self._encode(ids).float(), dim=-1)
        return PackedFeatures(features, features, torch.ones(len(texts), dtype=torch.long))

    def encode_embedded(self, x: Tensor, ids: Tensor) -> Tensor:
        """Features (B, D) of texts whose tokens' embeddings are given; fp32, not normalised.

        Args:
            x: (B, L, W), in place of what the tower would look up.
            ids: (B, L), for what the tower reads off the ids: where a text ends, what is padding.
                Where ``x`` is no token's embedding, any ordinary token stands.
        """
        padded = self._padded(ids.tolist())

        def replace(_: nn.Module, __: tuple[Any, ...], looked_up: Tensor) -> Tensor:
            return torch.cat([x.to(looked_up.dtype), looked_up[:, x.shape[1] :]], dim=1)

        handle = self._embedding[0].register_forward_hook(replace)
        try:
            return self._encode(padded).float()
        finally:
            handle.remove()

    def _padded(self, texts: Sequence[Sequence[int]]) -> Tensor:
        length = self.context_length if self.sees_padding else max(map(len, texts))
        rows = [[*ids, *[self.pad_id] * (length - len(ids)), *self._closing] for ids in texts]
        return torch.tensor(rows, device=self.device)

    def _encode(self, ids: Tensor) -> Tensor:
        output = self._run(ids)
        features: Tensor = output[0] if isinstance(output, tuple) else output
        return features


class LibraryImage(_Frozen):
    """An image tower of another shape than CLIP's, with a feature of the whole image, and of its
    places where it ends in an attention pool (SigLIP's): the pool's value path."""

    dense_options: tuple[str, ...] = ()
    dense: str | None = None
    any_size = False

    def __init__(
        self,
        module: nn.Module,
        *,
        encode: Callable[[Tensor], Any],
        size: tuple[int, int],
        pool: nn.Module | None = None,
        after_pool: Callable[[Tensor], Tensor] = lambda x: x,
        before_places: int = 0,
    ) -> None:
        """
        Args:
            module: holds the tower's weights.
            encode: images (B, 3, H, W) to features (B, D).
            size: height and width of the images it takes; it takes no others.
            pool: the attention pool that tokens (B, N, W) go through last, if there is one.
            after_pool: what comes behind the pool, position by position.
            before_places: how many of the pool's tokens, the first ones, are of no place.
        """
        super().__init__()
        self.module = module
        freeze_linear_layers(module)
        self._run, self._after_pool = encode, after_pool
        self._pool = [] if pool is None else [pool]  # a list: not a second submodule
        self._before_places = before_places
        self.size = size
        self.image_size = size[0]
        with torch.no_grad():
            _, local = self(torch.zeros(1, 3, *size), position_embedding=True)
        self.embed_dim = int(local.shape[2])
        self.grid = math.isqrt(local.shape[1])
        self.cell = size[0] // self.grid

    @property
    def has_places(self) -> bool:
        """Whether its local features are those of places in the image."""
        return bool(self._pool)

    def check_size(self, height: int, width: int) -> None:
        """Raise InputError for images of another size than the model's own."""
        if (height, width) != self.size:
            raise InputError(
                f"an image of {height}×{width} is not what this model takes: its image tower is "
                f"run by its own library, at {self.size[0]}×{self.size[1]} (INPUT.SIZE)"
            )

    def forward(self, images: Tensor, *, position_embedding: bool) -> tuple[Tensor, Tensor]:
        """Global (B, D) and local (B, N, D) features of images (B, 3, H, W), not normalised.

        Without an attention pool the only local feature is the global one. ``position_embedding``
        concerns CLIP's ResNets.
        """
        with _inputs_of(self._pool) as tokens:
            output = self._run(images)
        global_ = output[0] if isinstance(output, tuple) else output
        if not tokens:
            return global_, global_[:, None]
        local = _value_path(self._pool[0], tokens[0])[:, self._before_places :]
        return global_, self._after_pool(local)


@contextmanager
def _inputs_of(modules: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """A list that the first argument of every call of the modules is added to."""
    seen: list[Tensor] = []
    handles = [
        module.register_forward_pre_hook(lambda _, args: seen.append(args[0])) for module in modules
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _value_path(pool: Any, x: Tensor) -> Tensor:
    """What the pool would give (B, N, W) were each of the tokens (B, N, W) the only one."""
    width = x.shape[-1]
    if hasattr(pool, "attention"):  # transformers' SigLIP
        attention = pool.attention
        weight, bias = attention.in_proj_weight[2 * width :], attention.in_proj_bias[2 * width :]
        x, norm = attention.out_proj(F.linear(x, weight, bias)), pool.layernorm
    else:  # timm's
        x = x if pool.pos_embed is None else x + pool.pos_embed
        x, norm = pool.proj(pool.kv(x)[..., width:]), pool.norm
    return x if pool.mlp is None else x + pool.mlp(norm(x))
