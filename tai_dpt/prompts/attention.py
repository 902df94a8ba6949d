"""Attention among packed prompts: a shared prefix, and classes that see it and themselves.

Rows are token positions. The first ``P`` are the prefix that all classes share; then come the
classes' own rows, class after class, classes of equally many rows together. A prefix row sees the
prefix up to itself; a class's row sees all of the prefix and the class's own rows up to itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor


@dataclass(frozen=True)
class RowLayout:
    """Where the rows of packed prompts lie: the prefix, then ``(classes, rows each)`` groups."""

    prefix: int
    groups: tuple[tuple[int, int], ...]

    @property
    def sizes(self) -> list[int]:
        """Rows of the prefix and of each group."""
        return [self.prefix, *(count * length for count, length in self.groups)]

    @property
    def rows(self) -> int:
        return sum(self.sizes)

    @property
    def last_rows(self) -> list[int]:
        """The last row of each class (its EOS), in the order of the rows."""
        found: list[int] = []
        start = self.prefix
        for count, length in self.groups:
            found += range(start + length - 1, start + count * length, length)
            start += count * length
        return found


def attend(qkv: Tensor, layout: RowLayout, *, heads: int, last_only: bool = False) -> Tensor:
    """Multi-head attention among packed prompts, with a backward pass of its own.

    Autograd's would pad every slice's gradient to full size and copy it several times.

    Args:
        qkv: (K, rows, 3·W), queries, keys and values of ``K`` context sets, side by side.
        layout: of the rows.
        heads: number of attention heads.
        last_only: attend from the classes' last rows alone; the last block needs no others.

    Returns: (K, rows, W), or (K, C, W) with ``last_only``.
    """
    return cast("Tensor", _Attention.apply(qkv, layout, heads, last_only))


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, layout: RowLayout, heads: int, last_only: bool) -> Tensor:
        prefix, groups = _split(qkv, layout, heads)
        scale = (qkv.shape[-1] // 3 // heads) ** -0.5
        outputs, saved = [], []
        if not last_only:
            query = prefix[0].float() * scale
            key, value = prefix[1].float(), prefix[2].float()
            weights = _hide_future(query @ key.transpose(-1, -2)).softmax(dim=-1)
            outputs.append((weights @ value).transpose(1, 2).flatten(2))  # (K, P, W)
            saved += [query, weights]
        prefix_key, prefix_value = _fp32(prefix[1]), _fp32(prefix[2])
        saved += [prefix_key, prefix_value]
        n_prefix = layout.prefix
        for group in groups:  # (3, K, heads, C, S, d)
            query, key, value = group[0].float() * scale, _fp32(group[1]), _fp32(group[2])
            if last_only:
                query = query[..., -1:, :]
            shape = query.shape
            to_prefix = query.flatten(2, 3) @ prefix_key.transpose(-1, -2)
            to_own = _hide_future(query @ key.transpose(-1, -2))  # (K, heads, C, Q, S)
            to_all = torch.cat([to_prefix.view(*shape[:-1], n_prefix), to_own], dim=-1)
            weights = to_all.softmax(dim=-1)
            output = weights[..., n_prefix:] @ value
            output += (weights[..., :n_prefix].flatten(2, 3) @ prefix_value).view(shape)
            outputs.append(_rows(output))
            saved += [query, key, value, weights]
        ctx.save_for_backward(*saved)
        ctx.layout, ctx.heads, ctx.last_only, ctx.scale = layout, heads, last_only, scale
        ctx.shape = qkv.shape
        return torch.cat(outputs, dim=1).to(qkv.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        layout: RowLayout = ctx.layout
        saved = list(ctx.saved_tensors)
        heads, n_prefix = ctx.heads, layout.prefix
        result = gradient.new_empty(ctx.shape)
        into_prefix, into_groups = _split(result, layout, heads)
        if ctx.last_only:
            result.zero_()
            counts = [count for count, _ in layout.groups]
            pieces = gradient.split(counts, dim=1)
        else:
            own_query, own_weights = saved[:2]
            saved = saved[2:]
            first, *pieces = gradient.split(layout.sizes, dim=1)
        prefix_key, prefix_value = saved[:2]
        key_gradient = torch.zeros_like(prefix_key)
        value_gradient = torch.zeros_like(prefix_value)
        for number, ((count, _), piece) in enumerate(zip(layout.groups, pieces, strict=True)):
            query, key, value, weights = saved[2 + 4 * number : 6 + 4 * number]
            output = piece.unflatten(1, (count, -1)).unflatten(-1, (heads, -1))
            output = _fp32(output.permute(0, 3, 1, 2, 4))  # (K, heads, C, Q, d)
            flat = output.flatten(2, 3)
            by_weight = torch.cat(
                [
                    (flat @ prefix_value.transpose(-1, -2)).view(*query.shape[:-1], n_prefix),
                    output @ value.transpose(-1, -2),
                ],
                dim=-1,
            )
            by_score = _softmax_backward(weights, by_weight)
            to_prefix, to_own = by_score[..., :n_prefix].flatten(2, 3), by_score[..., n_prefix:]
            by_query = to_own @ key
            by_query += (to_prefix @ prefix_key).view(query.shape)
            target = into_groups[number]
            target[0][..., -query.shape[-2] :, :] = by_query.mul_(ctx.scale)
            target[1].copy_(to_own.transpose(-1, -2) @ query)
            target[2].copy_(weights[..., n_prefix:].transpose(-1, -2) @ output)
            key_gradient += to_prefix.transpose(-1, -2) @ query.flatten(2, 3)
            value_gradient += weights[..., :n_prefix].flatten(2, 3).transpose(-1, -2) @ flat
        if not ctx.last_only:
            output = first.float().unflatten(-1, (heads, -1)).transpose(1, 2)  # (K, heads, P, d)
            by_score = _softmax_backward(own_weights, output @ prefix_value.transpose(-1, -2))
            into_prefix[0].copy_((by_score @ prefix_key).mul_(ctx.scale))
            key_gradient += by_score.transpose(-1, -2) @ own_query
            value_gradient += own_weights.transpose(-1, -2) @ output
        into_prefix[1].copy_(key_gradient)
        into_prefix[2].copy_(value_gradient)
        return result, None, None, None


def _split(qkv: Tensor, layout: RowLayout, heads: int) -> tuple[Tensor, list[Tensor]]:
    """Views: the prefix's queries, keys and values (3, K, heads, P, d), and each group's
    (3, K, heads, C, S, d)."""
    split = qkv.unflatten(-1, (3, heads, -1))  # (K, rows, 3, heads, d)
    prefix, *groups = split.split(layout.sizes, dim=1)
    return prefix.permute(2, 0, 3, 1, 4), [
        group.unflatten(1, (count, length)).permute(3, 0, 4, 1, 2, 5)
        for group, (count, length) in zip(groups, layout.groups, strict=True)
    ]


def _fp32(x: Tensor) -> Tensor:
    """In one piece of memory and in single precision, whatever ``x`` is in: sums over so few
    products are no faster in half, and exacter so."""
    return x.to(torch.float32, memory_format=torch.contiguous_format)


def _rows(output: Tensor) -> Tensor:
    """(K, heads, C, Q, d) as rows (K, C·Q, W)."""
    return output.permute(0, 2, 3, 1, 4).flatten(1, 2).flatten(2)


def _hide_future(scores: Tensor) -> Tensor:
    """Mask (…, Q, S), the last ``Q`` of ``S`` positions seen from, in place."""
    queries, keys = scores.shape[-2:]
    if queries > 1:
        future = torch.ones(queries, keys, dtype=torch.bool, device=scores.device).triu(1)
        scores.masked_fill_(future, float("-inf"))
    return scores


def _softmax_backward(weights: Tensor, gradient: Tensor) -> Tensor:
    """The gradient by the softmax's input, from the one by its output; overwrites the latter."""
    product = gradient.mul_(weights)
    return product.addcmul_(weights, product.sum(dim=-1, keepdim=True), value=-1)
