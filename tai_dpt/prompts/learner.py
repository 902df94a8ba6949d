"""Context vectors that are learned, and the checkpoints that hold them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tai_dpt.errors import InputError
from tai_dpt.prompts.encoder import (
    CLASS_TOKEN_POSITIONS,
    ClassTokens,
    PromptEncoder,
    class_tokens,
)

__all__ = [
    "CLASS_TOKEN_POSITIONS",
    "ClassTokens",
    "PromptEncoder",
    "PromptLearner",
    "adapt_state_dict",
    "class_tokens",
    "load_contexts",
]


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
