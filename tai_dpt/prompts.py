"""Context vectors and class names become class embeddings.

A class's prompt is [SOS], the ``M`` context vectors, the class name, ".", [EOS]. What all
classes' prompts begin with — with class-shared context at ``end`` that is [SOS] and the whole
context — goes through the text encoder once; each class's few own tokens attend to it. Classes
with equally many own tokens run together, so nothing is padded. The encoder is causal, hence
none of this changes a class embedding beyond rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tai_dpt.backbones.text import TextEncoder
from tai_dpt.errors import InputError, unknown

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
    result = []
    for name, alone, ended in zip(
        names, tokenize(spoken), tokenize([f"{name}." for name in spoken]), strict=True
    ):
        n_name = len(alone) - 2
        result.append(ClassTokens(name, tuple(ended[1 : 1 + n_name]), tuple(ended[1 + n_name :])))
    return result


class _Group(nn.Module):
    """Classes whose prompts have equally many tokens of their own."""

    sources: Tensor  # (C_g, S), rows of the source table (see PromptEncoder._sources)
    classes: Tensor  # (C_g,), indices of the classes

    def __init__(self, classes: list[int], sources: list[list[int]], start: int) -> None:
        super().__init__()
        self.start = start  # position of the first own token
        self.length = len(sources[0])
        self.register_buffer("sources", torch.tensor(sources), persistent=False)
        self.register_buffer("classes", torch.tensor(classes), persistent=False)

    def __len__(self) -> int:
        return len(self.classes)


class PromptEncoder(nn.Module):
    """Encodes prompts of fixed class names around given context vectors. Has no parameters."""

    token_rows: Tensor  # (U, W), embeddings of the token ids in use
    prefix: Tensor  # (P,), rows of the source table that all prompts begin with

    def __init__(
        self,
        *,
        text: TextEncoder,
        classes: Sequence[ClassTokens],
        start_id: int,
        n_ctx: int,
        csc: bool = False,
        position: str = "end",
        classes_per_chunk: int = 2048,
    ) -> None:
        """
        Args:
            text: the frozen text encoder.
            classes: the class names' token ids.
            start_id: token id of [SOS].
            n_ctx: number of context tokens ``M``.
            csc: whether every class has a context of its own (class-specific context).
            position: where the class name stands: ``end``, ``middle`` (half of the context on
                each side) or ``front``.
            classes_per_chunk: with more classes than this, a chunk's activations are computed
                again in the backward pass instead of kept, which bounds memory.

        Raises:
            InputError: unknown ``position``; a prompt longer than the encoder's context.
        """
        super().__init__()
        if position not in CLASS_TOKEN_POSITIONS:
            raise unknown("class-token position", position, CLASS_TOKEN_POSITIONS)
        self.text = text
        self.csc = csc
        self.n_classes = len(classes)
        self.classes_per_chunk = classes_per_chunk

        # A prompt's slots are ("token", id) or ("ctx", row of the context).
        prompts = []
        for index, tokens in enumerate(classes):
            first_row = index * n_ctx if csc else 0
            ctx = [("ctx", first_row + m) for m in range(n_ctx)]
            before = {"end": n_ctx, "middle": n_ctx // 2, "front": 0}[position]
            slots = [("token", start_id), *ctx[:before]]
            slots += [("token", i) for i in tokens.name_ids] + ctx[before:]
            slots += [("token", i) for i in tokens.tail_ids]
            if len(slots) > text.context_length:
                room = text.context_length - (len(slots) - len(tokens.name_ids))
                raise InputError(
                    f"class name '{tokens.name}' has {len(tokens.name_ids)} tokens; with {n_ctx} "
                    f"context tokens there is room for {room}: shorten it or lower N_CTX"
                )
            prompts.append(slots)

        # Stop before EOS: its output is the class embedding, so every class needs one of its own.
        shared = 0
        while all(shared < len(p) - 1 and p[shared] == prompts[0][shared] for p in prompts):
            shared += 1

        # The source table is the context's rows, then the rows of the token ids in use.
        ctx_rows = n_ctx * (len(classes) if csc else 1)
        used = sorted({row for p in prompts for kind, row in p if kind == "token"})
        token_row = {token: ctx_rows + i for i, token in enumerate(used)}
        rows = [[r if kind == "ctx" else token_row[r] for kind, r in p] for p in prompts]
        token_rows = text.token_table[torch.tensor(used)].clone()
        self.register_buffer("token_rows", token_rows, persistent=False)
        self.register_buffer("prefix", torch.tensor(rows[0][:shared]), persistent=False)

        by_length: dict[int, list[int]] = {}
        for index, row in enumerate(rows):
            by_length.setdefault(len(row), []).append(index)
        groups: list[_Group] = []
        for _, members in sorted(by_length.items()):
            for i in range(0, len(members), classes_per_chunk):
                chunk = members[i : i + classes_per_chunk]
                groups.append(_Group(chunk, [rows[c][shared:] for c in chunk], shared))
        self._groups = nn.ModuleList(groups)

    @property
    def groups(self) -> list[_Group]:
        """The classes, by the number of tokens of their own."""
        return cast("list[_Group]", list(self._groups))

    def forward(self, contexts: Tensor) -> Tensor:
        """Class embeddings (K, C, D), not normalised, fp32, of ``K`` sets of contexts at once.

        Args:
            contexts: (K, M, W), or (K, C, M, W) with class-specific context.
        """
        sources = self._sources(contexts)
        cache = self._encode_prefix(sources)
        parts = []
        recompute = self.n_classes > self.classes_per_chunk and torch.is_grad_enabled()
        for group in self.groups:
            if recompute:
                parts.append(
                    checkpoint(self._encode_group, group, sources, cache, use_reentrant=False)
                )
            else:
                parts.append(self._encode_group(group, sources, cache))
        order = torch.cat([group.classes for group in self.groups])
        return torch.cat(parts, dim=1)[:, torch.argsort(order)]

    def _sources(self, contexts: Tensor) -> Tensor:
        """The embeddings that prompts are made of (K, rows, W): context, then used tokens."""
        flat = contexts.flatten(1, -2).to(self.token_rows.dtype)
        return torch.cat([flat, self.token_rows.expand(len(flat), -1, -1)], dim=1)

    def _encode_prefix(self, sources: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Keys and values (K, heads, P, d) of the shared tokens, for every block."""
        x = sources[:, self.prefix] + self.text.positions[: len(self.prefix)]
        cache = []
        last = len(self.text.blocks) - 1
        for depth, block in enumerate(self.text.layers):
            query, key, value = block.qkv(x)
            cache.append((key, value))
            if depth < last:  # nobody reads the prefix's own output
                attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
                x = block.finish(x, attended)
        return cache

    def _encode_group(
        self, group: _Group, sources: Tensor, cache: list[tuple[Tensor, Tensor]]
    ) -> Tensor:
        """Class embeddings (K, C_g, D) of a group's classes."""
        n_ctx_sets, n_classes, length = len(sources), len(group), group.length
        positions = self.text.positions[group.start : group.start + length]
        x = sources[:, group.sources.flatten()].unflatten(1, (n_classes, length)) + positions
        x = x.flatten(1, 2)  # (K, C_g · S, W)
        last = len(self.text.blocks) - 1
        for depth, block in enumerate(self.text.layers):
            query, key, value = block.qkv(x)
            if depth == last:  # only EOS is read
                query = query[:, :, length - 1 :: length]
                x = x[:, length - 1 :: length]
            attended = _attend(query, key, value, cache[depth], n_classes)
            x = block.finish(x, attended)
        return self.text.project(x).view(n_ctx_sets, n_classes, -1)


def _attend(
    query: Tensor, key: Tensor, value: Tensor, prefix: tuple[Tensor, Tensor], n_classes: int
) -> Tensor:
    """Attention of each class's last tokens to the shared prefix and to its own earlier tokens.

    Args:
        query: (K, heads, C·Q, d), the last ``Q`` of each class's ``S`` tokens.
        key, value: (K, heads, C·S, d).
        prefix: keys and values (K, heads, P, d) that all classes share.

    Returns: (K, heads, C·Q, d).
    """
    query = query * query.shape[-1] ** -0.5
    own_query, own_key, own_value = (
        t.unflatten(2, (n_classes, -1)) for t in (query, key, value)
    )  # (K, heads, C, Q or S, d)
    n_queries, n_own = own_query.shape[3], own_key.shape[3]
    prefix_key, prefix_value = prefix
    n_prefix = prefix_key.shape[2]
    to_prefix = (query @ prefix_key.transpose(-1, -2)).unflatten(2, (n_classes, n_queries))
    to_own = own_query @ own_key.transpose(-1, -2)  # (K, heads, C, Q, S)
    if n_queries > 1:
        future = torch.ones(n_own, n_own, dtype=torch.bool, device=query.device).triu(1)
        to_own = to_own.masked_fill(future[-n_queries:], float("-inf"))
    weights = torch.cat([to_prefix, to_own], dim=-1).softmax(dim=-1)
    from_prefix = weights[..., :n_prefix].flatten(2, 3) @ prefix_value
    from_own = weights[..., n_prefix:] @ own_value
    return from_prefix + from_own.flatten(2, 3)


class PromptLearner(nn.Module):
    """Named sets of learnable context vectors over the same class names.

    TaI-DPT learns ``global`` and ``local``, DualCoOp ``positive`` and ``negative``; each is a
    parameter ``ctx_<name>`` of shape (M, W), or (C, M, W) with class-specific context.
    """

    def __init__(
        self,
        *,
        encoder: PromptEncoder,
        names: Sequence[str],
        class_names: Sequence[str],
        n_ctx: int,
        init: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        """
        Args:
            encoder: encodes the prompts.
            names: names of the context sets.
            class_names: of the encoder's classes; kept in checkpoints, and checked on loading.
            n_ctx: number of context tokens ``M``.
            init: (M, W) start of every context; N(0, 0.02²) when None.
            generator: randomness of the start, drawn on the CPU so that devices agree.
        """
        super().__init__()
        self.names = tuple(names)
        self.encoder = encoder
        self.class_names = list(class_names)
        width = encoder.text.width
        shape = (encoder.n_classes, n_ctx, width) if encoder.csc else (n_ctx, width)
        for name in self.names:
            if init is None:
                start = torch.empty(shape).normal_(std=0.02, generator=generator)
            else:
                start = init.float().expand(shape).clone()
            self.register_parameter(f"ctx_{name}", nn.Parameter(start.to(encoder.text.device)))

    def forward(self) -> dict[str, Tensor]:
        """L2-normalised class embeddings (C, D) by the contexts' names."""
        contexts = torch.stack([getattr(self, f"ctx_{name}") for name in self.names])
        embeddings = F.normalize(self.encoder(contexts), dim=-1)
        return dict(zip(self.names, embeddings, strict=True))

    def get_extra_state(self) -> dict[str, list[str]]:
        return {"class_names": self.class_names}

    def set_extra_state(self, state: dict[str, list[str]]) -> None:
        """Refuse a checkpoint of other classes, naming the first that differ."""
        saved = state["class_names"]
        if saved == self.class_names:
            return
        new = [name for name in self.class_names if name not in saved]
        gone = [name for name in saved if name not in self.class_names]
        differences = [f"{len(saved)} classes there, {len(self.class_names)} here"]
        differences += [f"only there: {', '.join(gone[:5])}"] if gone else []
        differences += [f"only here: {', '.join(new[:5])}"] if new else []
        differences += [] if gone or new else ["another order"]
        raise InputError(
            f"the checkpoint was trained for another class list ({'; '.join(differences)}); use "
            "that list, or carry class-shared contexts over with MODEL.INIT_WEIGHTS"
        )


# The public code's parameters and ours; DualCoOp's ``ctx`` is its positive context.
_PUBLIC_NAMES: dict[tuple[str, ...], dict[str, str]] = {
    ("global", "local"): {"ctx": "ctx_global", "ctx_double": "ctx_local"},
    ("positive", "negative"): {"ctx": "ctx_positive", "ctx_neg": "ctx_negative"},
}
_EXTRA = "_extra_state"


def adapt_state_dict(learner: PromptLearner, state: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint of this project, or of the public code, as ``learner`` takes it.

    The public code also stores its prompts' token embeddings and a temperature; what
    ``learner`` has no entry for is dropped from such a checkpoint, which names no classes.
    """
    if any(name.startswith("ctx_") and name[4:] in learner.names for name in state):
        return state
    own = learner.state_dict()
    renamed = _PUBLIC_NAMES.get(learner.names, {})
    adapted = {renamed.get(key, key): value for key, value in state.items()}
    adapted = {key: value for key, value in adapted.items() if key in own}
    adapted.update({key: own[key] for key in own if key == _EXTRA})
    return adapted


def load_contexts(learner: PromptLearner, state: dict[str, Any]) -> None:
    """Start ``learner`` from another run's contexts, whatever classes that run had.

    Raises:
        InputError: a context is missing or of another shape.
    """
    state = adapt_state_dict(learner, state)
    for name in learner.names:
        own = getattr(learner, f"ctx_{name}")
        given = state.get(f"ctx_{name}")
        if given is None or given.shape != own.shape:
            shape = "missing" if given is None else f"of shape {tuple(given.shape)}"
            raise InputError(
                f"the {name} context is {shape}, wanted {tuple(own.shape)}; only class-shared "
                "contexts of the same N_CTX and backbone width carry over to other classes"
            )
        with torch.no_grad():
            own.copy_(given)
