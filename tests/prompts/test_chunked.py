"""A long computation in pieces gives what it gives in one, and holds few pieces at a time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tai_dpt.prompts.chunked import concatenated


class Piece:
    """``sin(x @ weight)``, that counts how often it runs with a graph and without."""

    def __init__(self, size: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.weight = torch.randn(3, size, generator=generator, dtype=torch.float64)
        self.runs = {True: 0, False: 0}

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        self.runs[torch.is_grad_enabled()] += 1
        return (x @ self.weight).sin()[..., None]


def pieces_and_input(sizes, seed=0):
    pieces = [Piece(size, seed + number) for number, size in enumerate(sizes)]
    x = torch.randn(2, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return pieces, x.requires_grad_()


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=5),
    kept=st.integers(0, 6),
    seed=st.integers(0, 2**16),
)
def test_equals_one_computation(sizes, kept, seed):
    pieces, x = pieces_and_input(sizes, seed)
    ours = concatenated(pieces, x, sizes=sizes, kept=kept)
    reference = torch.cat([piece(x) for piece in pieces], dim=1)
    torch.testing.assert_close(ours, reference)
    probe = torch.randn(reference.shape, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((ours * probe).sum(), x)
    (expected,) = torch.autograd.grad((reference * probe).sum(), x)
    torch.testing.assert_close(gradient, expected)


def test_only_what_is_not_kept_is_computed_again():
    pieces, x = pieces_and_input([2, 2, 2])
    concatenated(pieces, x, sizes=[2, 2, 2], kept=1).sum().backward()
    assert [piece.runs for piece in pieces] == [{True: 1, False: n} for n in (1, 1, 0)]


def test_nothing_is_kept_where_no_gradient_is_asked_for():
    pieces, x = pieces_and_input([2, 1])
    with torch.no_grad():
        result = concatenated(pieces, x, sizes=[2, 1], kept=2)
    assert not result.requires_grad
    assert all(piece.runs == {True: 0, False: 1} for piece in pieces)


@pytest.mark.parametrize("kept", [0, 2])
def test_the_backward_pass_can_be_run_again(kept):
    pieces, x = pieces_and_input([2, 3])
    total = concatenated(pieces, x, sizes=[2, 3], kept=kept).sum()
    (first,) = torch.autograd.grad(total, x, retain_graph=True)
    (second,) = torch.autograd.grad(total, x)
    assert first.equal(second)
