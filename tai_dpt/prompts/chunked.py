"""A long computation in pieces, with memory that does not grow with their number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor

Piece = Callable[[Tensor], Tensor]


def concatenated(pieces: Sequence[Piece], x: Tensor, *, sizes: Sequence[int], kept: int) -> Tensor:
    """``torch.cat([piece(x) for piece in pieces], dim=1)``, frugal of memory.

    For the backward pass the last pieces' activations are kept and the others' computed again.
    Results go straight into one tensor, made first: many small ones, left among the activations
    that come and go, would keep the allocator from using that memory again. The gradient by
    ``x`` is summed over the pieces in the precision of ``x``.

    Args:
        pieces: functions of ``x``, without randomness; each gives (K, size, D).
        x: what all pieces are computed from, floating point.
        sizes: of each piece's result along dimension 1.
        kept: of how many pieces the activations may be held at a time.
    """
    if not (torch.is_grad_enabled() and x.requires_grad):
        kept = 0
    return cast("Tensor", _Concatenated.apply(x, pieces, sizes, kept))


class _Concatenated(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, pieces: Sequence[Piece], sizes: Sequence[int], kept: int
    ) -> Tensor:
        ctx.pieces, ctx.sizes, ctx.graphs = pieces, sizes, {}
        ctx.save_for_backward(x)
        parts: Sequence[Tensor] = ()
        for number, piece in enumerate(pieces):
            if number < len(pieces) - kept:
                result = piece(x)
            else:
                ctx.graphs[number] = _with_graph(piece, x)
                result = ctx.graphs[number][1]
            if not parts:
                whole = result.new_empty(result.shape[0], sum(sizes), *result.shape[2:])
                parts = whole.split(list(sizes), dim=1)
            parts[number].copy_(result.detach())
        return whole

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        total = torch.zeros_like(x)
        parts = gradients[0].split(list(ctx.sizes), dim=1)
        for number in reversed(range(len(parts))):  # what is kept first, so that it is free again
            leaf, result = ctx.graphs.pop(number, None) or _with_graph(ctx.pieces[number], x)
            (gradient,) = torch.autograd.grad(result, leaf, parts[number])
            total += gradient
            del leaf, result
        return total, None, None, None


def _with_graph(piece: Piece, x: Tensor) -> tuple[Tensor, Tensor]:
    """``x`` as a leaf of its own, and the piece of it with what its backward pass needs."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        return leaf, piece(leaf)
