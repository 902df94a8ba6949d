"""Context vectors and class names become class embeddings.

A class's prompt is [SOS], the ``M`` context vectors, the class name, ".", [EOS]. What all
classes' prompts begin with — with class-shared context at ``end`` that is [SOS] and the whole
context — goes through the text encoder once; each class's few own tokens attend to it. All rows
lie end to end in one matrix, so nothing is padded and every linear layer is one product. The
encoder is causal, hence none of this changes a class embedding beyond rounding.

An encoder that is not causal (SigLIP's, multilingual ones) shares nothing: there every class's
whole prompt goes through it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any, cast

import torch
from torch import Tensor, nn

from tai_dpt.backbones.adapter import LibraryText
from tai_dpt.backbones.text import TextEncoder
from tai_dpt.distributed import gather_classes
from tai_dpt.errors import InputError, shorten, unknown
from tai_dpt.prompts.attention import RowLayout, attend
from tai_dpt.prompts.chunked import concatenated

CLASS_TOKEN_POSITIONS = ("end", "middle", "front")


@dataclass(frozen=True)
class ClassTokens:
    """Token ids of one class name, as the prompt needs them."""

    name: str
    name_ids: tuple[int, ...]
    tail_ids: tuple[int, ...]  # what follows the name: "." and EOS


def class_tokens(
    names: Sequence[str], tokenize: Callable[[Sequence[str]], list[list[int]]]
) -> list[ClassTokens]:
    """Token ids of class names; underscores are spaces, as in CoOp.

    Args:
        names: class names as the prompts say them.
        tokenize: texts to ``[SOS … EOS]`` token ids.
    """
    spoken = [name.replace("_", " ") for name in names]
    first, last = special_tokens(tokenize)
    result = []
    for name, alone, ended in zip(
        names, tokenize(spoken), tokenize([f"{name}." for name in spoken]), strict=True
    ):
        behind = len(alone) - len(last)
        result.append(ClassTokens(name, tuple(ended[len(first) : behind]), tuple(ended[behind:])))
    return result


def special_tokens(
    tokenize: Callable[[Sequence[str]], list[list[int]]],
) -> tuple[list[int], list[int]]:
    """What stands before and behind every text: SOS and EOS for CLIP; some have no SOS."""
    empty, word = tokenize(["", "a"])
    before = 0
    while before < len(empty) and empty[before] == word[before]:
        before += 1
    return empty[:before], empty[before:]


class _GradientScaling:
    """Keeps gradients inside half precision's range on their way through the frozen encoder.

    A gradient of 1e-8, as a mean over a batch gives, is nothing in fp16. The encoder's backward
    pass is linear, so the gradient is scaled to a largest element of 1 where it enters and back
    where it leaves, by a power of two: only what fp16 would have lost changes.
    """

    factor: Tensor

    def apply(self, embeddings: Tensor) -> Tensor:
        return cast("Tensor", _ScaleGradient.apply(embeddings, self._enlarge))

    def undo(self, contexts: Tensor) -> Tensor:
        return cast(
            "Tensor", _ScaleGradient.apply(contexts, lambda gradient: gradient / self.factor)
        )

    def _enlarge(self, gradient: Tensor) -> Tensor:
        exponent = -gradient.abs().amax().clamp(min=1e-30).log2().floor()
        self.factor = exponent.exp2()
        return gradient * self.factor


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.change = change
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.change(gradients[0]), None


class _Chunk(nn.Module):
    """Classes that go through the encoder together, behind a prefix of their own."""

    sources: Tensor  # (R,), rows of the chunk's source table (see PromptEncoder._sources)
    positions: Tensor  # (R,), each row's place in its prompt
    last_rows: Tensor  # (C_chunk,), the row of each class's EOS
    members: Tensor  # (C_chunk,), which classes they are

    def __init__(self, prefix: list[int], own: list[list[int]], members: list[int]) -> None:
        """
        Args:
            prefix: the source rows that all prompts begin with.
            own: the source rows of each class after the prefix; like lengths together.
            members: the classes.
        """
        super().__init__()
        groups = [(len(list(same)), length) for length, same in groupby(map(len, own))]
        self.layout = RowLayout(len(prefix), tuple(groups))
        places = [len(prefix) + at for row in own for at in range(len(row))]
        self.source_list = prefix + [source for row in own for source in row]
        tables = {
            "sources": self.source_list,
            "positions": [*range(len(prefix)), *places],
            "last_rows": self.layout.last_rows,
            "members": members,
        }
        for name, values in tables.items():
            self.register_buffer(name, torch.tensor(values), persistent=False)


class _Plan(nn.Module):
    """How some classes are encoded: this process's chunks, and where each class comes out."""

    order: Tensor  # (C,), where each class is in all processes' joint output

    def __init__(self, chunks: Sequence[_Chunk], counts: list[int], order: Tensor) -> None:
        """``counts``: how many of the classes each process encodes."""
        super().__init__()
        self._chunks = nn.ModuleList(chunks)
        self.counts = counts
        self.register_buffer("order", order, persistent=False)

    @property
    def chunks(self) -> list[_Chunk]:
        return cast("list[_Chunk]", list(self._chunks))


class PromptEncoder(nn.Module):
    """Encodes prompts of fixed class names around given context vectors. Has no parameters."""

    token_rows: Tensor  # (U, W), embeddings of the token ids in use

    def __init__(
        self,
        *,
        text: TextEncoder | LibraryText,
        classes: Sequence[ClassTokens],
        start_id: int | None,
        n_ctx: int,
        csc: bool = False,
        position: str = "end",
        rows_per_chunk: int = 1024,
        chunks_kept: int = 5,
        ranks: tuple[int, int] = (0, 1),
    ) -> None:
        """
        Args:
            text: the frozen text encoder.
            classes: the class names' token ids.
            start_id: token id of [SOS]; None where texts have none.
            n_ctx: number of context tokens ``M``.
            csc: whether every class has a context of its own (class-specific context).
            position: where the class name stands: ``end``, ``middle`` (half of the context on
                each side) or ``front``.
            rows_per_chunk: token positions that are encoded together.
            chunks_kept: of how many chunks the activations are kept for the backward pass; those
                of further ones are computed again there, which bounds memory. With RN50's
                encoder in fp32 and two contexts a chunk of 1,024 keeps 0.48 GB.
            ranks: (rank, world) of several processes: each encodes its share of the classes and
                has the others' from the other ranks, all of which must call ``forward``.

        Raises:
            InputError: unknown ``position``; a prompt longer than the encoder's context.
        """
        super().__init__()
        if position not in CLASS_TOKEN_POSITIONS:
            raise unknown("class-token position", position, CLASS_TOKEN_POSITIONS)
        self.text = text
        self.csc = csc
        self.n_ctx = n_ctx
        self.n_classes = len(classes)
        self.rows_per_chunk = rows_per_chunk
        self.chunks_kept = chunks_kept
        self.ranks = ranks
        prompts = [self._slots(tokens, start_id, n_ctx, position) for tokens in classes]

        # Stop before EOS: its output is the class embedding, so every class needs one of its own.
        # A context of its own is not shared either.
        shared = 0
        while text.causal and all(
            shared < len(p) - 1
            and p[shared] == prompts[0][shared]
            and not (csc and p[shared][0] == "ctx")
            for p in prompts
        ):
            shared += 1
        self.shared = shared

        used = sorted({token for p in prompts for kind, token in p if kind == "token"})
        row_of_token = {token: n_ctx + i for i, token in enumerate(used)}
        # every slot as a number: m of the context's row m, n_ctx + u of the used token u
        rows = [[at if kind == "ctx" else row_of_token[at] for kind, at in p] for p in prompts]
        self._prefix = rows[0][:shared]
        self._own = [row[shared:] for row in rows]
        # an id for every row: what stands in a context's place is any word
        word = next((i for tokens in classes for i in tokens.name_ids), used[0])
        self._row_ids = [word] * n_ctx + used
        token_rows = text.token_table[torch.tensor(used)].clone()
        self.register_buffer("token_rows", token_rows, persistent=False)
        self.whole = self._plan(range(len(classes)))

    def _plan(self, classes: Sequence[int]) -> _Plan:
        """How ``classes`` are encoded by all processes."""
        by_length = sorted(range(len(classes)), key=lambda at: len(self._own[classes[at]]))
        rank, world = self.ranks if self.ranks[1] <= len(classes) else (0, 1)
        shares = [by_length[r::world] for r in range(world)]
        pieces: list[list[int]] = [[]]
        filled = self.shared
        for at in shares[rank]:
            length = self.text.rows_of(len(self._own[classes[at]]))
            if pieces[-1] and filled + length > self.rows_per_chunk:
                pieces.append([])
                filled = self.shared
            pieces[-1].append(classes[at])
            filled += length
        joined = torch.tensor([at for share in shares for at in share])
        return _Plan(
            [self._chunk(piece) for piece in pieces],
            [len(share) for share in shares],
            joined.argsort(),
        )

    def _chunk(self, members: list[int]) -> _Chunk:
        """A chunk's source table is its context's rows, then those of the used tokens."""
        contexts = len(members) if self.csc else 1
        behind = (contexts - 1) * self.n_ctx  # how much further back the tokens' rows are

        def sources(row: list[int], context: int) -> list[int]:
            first = context * self.n_ctx
            return [at + (first if at < self.n_ctx else behind) for at in row]

        own = [
            sources(self._own[member], place if self.csc else 0)
            for place, member in enumerate(members)
        ]
        return _Chunk(sources(self._prefix, 0), own, members)

    def _slots(
        self, tokens: ClassTokens, start_id: int | None, n_ctx: int, position: str
    ) -> list[tuple[str, int]]:
        """A prompt as ("token", id) and ("ctx", row of the context)."""
        ctx = [("ctx", m) for m in range(n_ctx)]
        before = {"end": n_ctx, "middle": n_ctx // 2, "front": 0}[position]
        slots = [] if start_id is None else [("token", start_id)]
        slots += ctx[:before]
        slots += [("token", i) for i in tokens.name_ids] + ctx[before:]
        slots += [("token", i) for i in tokens.tail_ids]
        if len(slots) > self.text.context_length:
            room = max(self.text.context_length - (len(slots) - len(tokens.name_ids)), 0)
            raise InputError(
                f"class name '{shorten(tokens.name)}' has {len(tokens.name_ids)} tokens; with "
                f"{n_ctx} context tokens there is room for {room}: shorten it, or lower N_CTX (or "
                "take fewer words for CTX_INIT)"
            )
        return slots

    def forward(self, contexts: Tensor, classes: Sequence[int] | None = None) -> Tensor:
        """Class embeddings (K, C, D), not normalised, fp32, of ``K`` sets of contexts at once.

        Args:
            contexts: (K, M, W), or (K, C, M, W) with class-specific context.
            classes: encode these alone, in this order (the same on all ranks); all when None.
        """
        plan = self.whole
        if classes is not None:
            plan = self._plan(classes).to(self.token_rows.device, non_blocking=True)
        half = self.token_rows.dtype == torch.float16
        scaling = _GradientScaling()
        embeddings = concatenated(
            [partial(self._encode, chunk) for chunk in plan.chunks],
            scaling.undo(contexts) if half else contexts,
            sizes=[len(chunk.last_rows) for chunk in plan.chunks],
            kept=self.chunks_kept,
        )
        if half:
            embeddings = scaling.apply(embeddings)
        if len(plan.counts) > 1:
            embeddings = gather_classes(embeddings, plan.counts)
        return embeddings.index_select(1, plan.order)

    def _sources(self, contexts: Tensor, chunk: _Chunk) -> Tensor:
        """What a chunk's prompts are made of (K, rows, W): its context, then the used tokens."""
        if self.csc:
            contexts = contexts.index_select(1, chunk.members)
        flat = contexts.flatten(1, -2).to(self.token_rows.dtype)
        return torch.cat([flat, self.token_rows.expand(len(flat), -1, -1)], dim=1)

    def _encode(self, chunk: _Chunk, contexts: Tensor) -> Tensor:
        """Class embeddings (K, C_chunk, D) of a chunk's classes."""
        x = self._sources(contexts, chunk).index_select(1, chunk.sources)
        if not isinstance(self.text, TextEncoder):
            return self._encode_whole(self.text, chunk, x)
        x = x + self.text.positions[chunk.positions]
        *blocks, last = self.text.layers
        for block in blocks:
            x = block.finish(x, attend(block.qkv(x), chunk.layout, heads=block.heads))
        attended = attend(last.qkv(x), chunk.layout, heads=last.heads, last_only=True)
        x = last.finish(x.index_select(1, chunk.last_rows), attended)  # only EOS is read
        return self.text.project(x)

    def _encode_whole(self, text: LibraryText, chunk: _Chunk, x: Tensor) -> Tensor:
        """Class embeddings (K, C_chunk, D) of prompts that share nothing (K, rows, W)."""
        behind = len(chunk.members) * self.n_ctx if self.csc else self.n_ctx
        ids = [self._row_ids[max(at - behind + self.n_ctx, 0)] for at in chunk.source_list]
        parts, start = [], 0
        for count, length in chunk.layout.groups:
            end = start + count * length
            rows = x[:, start:end].unflatten(1, (count, length)).flatten(0, 1)  # (K·c, length, W)
            own = torch.tensor(ids[start:end]).view(count, length).repeat(len(x), 1)
            parts.append(text.encode_embedded(rows, own).unflatten(0, (len(x), count)))
            start = end
        return torch.cat(parts, dim=1)
