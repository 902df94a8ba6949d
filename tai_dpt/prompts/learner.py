"""Context vectors that are learned, and the checkpoints that hold them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
    special_tokens,
)

__all__ = [
    "CLASS_TOKEN_POSITIONS",
    "ClassTokens",
    "OfClasses",
    "PromptEncoder",
    "PromptLearner",
    "adapt_state_dict",
    "class_tokens",
    "load_contexts",
    "special_tokens",
]


class OfClasses(nn.Module):
    """A module whose state says which classes it is of, and serves no others."""

    class_names: list[str]
    way_out = ""  # beside the right list, for the message

    def get_extra_state(self) -> dict[str, list[str]]:
        return {"class_names": self.class_names}

    def set_extra_state(self, state: dict[str, list[str]]) -> None:
        """Refuse a checkpoint of other classes, naming the first that differ."""
        saved = _saved_names(state)
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
            f"that list{self.way_out}"
        )


class PromptLearner(OfClasses):
    """Named sets of learnable context vectors over the same class names.

    TaI-DPT learns ``global`` and ``local``, DualCoOp ``positive`` and ``negative``; each is a
    parameter ``ctx_<name>`` of shape (M, W), or (C, M, W) with class-specific context. Beside
    them DualCoOp learns two ``numbers``.
    """

    way_out = ", or carry class-shared contexts over with MODEL.INIT_WEIGHTS"

    def __init__(
        self,
        *,
        encoder: PromptEncoder,
        names: Sequence[str],
        class_names: Sequence[str],
        n_ctx: int,
        init: Tensor | None = None,
        generator: torch.Generator | None = None,
        numbers: Mapping[str, float] | None = None,
    ) -> None:
        """
        Args:
            encoder: encodes the prompts.
            names: names of the context sets.
            class_names: of the encoder's classes; kept in checkpoints, and checked on loading.
            n_ctx: number of context tokens ``M``.
            init: (M, W) start of every context; N(0, 0.02²) when None.
            generator: randomness of the start, drawn on the CPU so that devices agree.
            numbers: scalars that are learned too, and where they start.
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
        self._number_names = tuple(numbers or ())
        for name, value in (numbers or {}).items():
            number = torch.tensor(float(value), device=encoder.text.device)
            self.register_parameter(name, nn.Parameter(number))

    def forward(self, classes: Sequence[int] | None = None) -> dict[str, Tensor]:
        """L2-normalised class embeddings (C, D) by the contexts' names.

        Args:
            classes: of these alone, in this order; of all when None.
        """
        contexts = torch.stack([getattr(self, f"ctx_{name}") for name in self.names])
        embeddings = F.normalize(self.encoder(contexts, classes), dim=-1)
        return dict(zip(self.names, embeddings, strict=True))

    def numbers(self) -> dict[str, Tensor]:
        """The learned scalars by their names."""
        return {name: self.get_parameter(name) for name in self._number_names}


# The public codes' parameters and ours, by the prompts that are learned: TaI-DPT's, CoOp's, and
# DualCoOp's as TaI-DPT's authors (``ctx``) and as its own authors (``ctx_pos``) call them.
_PUBLIC_NAMES: dict[tuple[str, ...], dict[str, str]] = {
    ("global", "local"): {"ctx": "ctx_global", "ctx_double": "ctx_local"},
    ("global",): {"ctx": "ctx_global"},
    ("positive", "negative"): {
        "ctx": "ctx_positive",
        "ctx_pos": "ctx_positive",
        "ctx_neg": "ctx_negative",
        "temperature": "log_scale",
        "spatial_T": "log_sharpness",
    },
}
_EXTRA = "_extra_state"
# what DualCoOp's authors have as constants: logits of 5 · 20 times a similarity whose spatial
# weights are a softmax of 20 times it
_DUALCOOP_CONSTANTS = {"log_scale": math.log(100.0), "log_sharpness": math.log(20.0)}


def adapt_state_dict(learner: PromptLearner, state: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint of this project, or of a public code, as ``learner`` takes it.

    The public codes also store their prompts' token embeddings, a temperature or the whole
    model; what ``learner`` has no entry for is dropped from such a checkpoint. It names no
    classes: they are taken to be the learner's own.
    """
    if any(name.startswith("ctx_") and name[4:] in learner.names for name in state):
        return dict(state)
    own = learner.state_dict()
    public = {key.removeprefix("module.").removeprefix("prompt_learner."): key for key in state}
    renamed = _PUBLIC_NAMES.get(learner.names, {})
    adapted = {renamed.get(key, key): state[full] for key, full in public.items()}
    if "ctx_pos" in public:
        adapted |= {name: torch.tensor(value) for name, value in _DUALCOOP_CONSTANTS.items()}
    adapted = {key: value for key, value in adapted.items() if key in own}
    adapted.update({key: own[key] for key in own if key == _EXTRA})
    return adapted


def load_contexts(learner: PromptLearner, state: Mapping[str, Any]) -> list[str]:
    """Start ``learner`` from another run's contexts and learned numbers.

    Class-shared contexts serve any classes. Class-specific ones go to the classes of the same
    name; the others keep their own start.

    Returns:
        The names of the classes that have no context there.

    Raises:
        InputError: a context is missing or of another shape, or no class is there by name.
    """
    named = _saved_names(state[_EXTRA]) if _EXTRA in state else None
    adapted = adapt_state_dict(learner, state)
    missing: list[str] = []
    for name in learner.names:
        own = learner.get_parameter(f"ctx_{name}")
        given = adapted.get(f"ctx_{name}")
        # all but the number of classes: (M, W), and a first dimension or none
        if given is None or given.ndim != own.ndim or given.shape[-2:] != own.shape[-2:]:
            there = "missing" if given is None else f"of shape {tuple(given.shape)}"
            raise InputError(
                f"the {name} context is {there}, wanted {tuple(own.shape)}; only class-shared "
                "contexts of the same N_CTX and backbone width carry over to other classes, and "
                "class-specific ones (CSC) to classes of the same name"
            )
        with torch.no_grad():
            if own.ndim == 2:
                own.copy_(given)
                continue
            rows, missing = _same_classes(learner.class_names, named)
            if named is not None and len(given) != len(named):
                raise InputError(
                    f"it holds {len(given)} contexts of {len(named)} classes: it is damaged"
                )
            here = [i for i, row in enumerate(rows) if row is not None]
            own[here] = given[[row for row in rows if row is not None]].to(own)
    for name, value in learner.numbers().items():
        if name in adapted:
            with torch.no_grad():
                value.copy_(adapted[name])
    return missing


def _saved_names(extra: Any) -> list[str]:
    names = extra.get("class_names") if isinstance(extra, Mapping) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError("it does not hold the names of its classes where they should be")
    return names


def _same_classes(
    class_names: Sequence[str], named: Sequence[str] | None
) -> tuple[list[int | None], list[str]]:
    """Where each class stands in a checkpoint, None where it does not; and those classes."""
    if named is None:
        raise InputError(
            "it holds class-specific contexts (CSC) but not the names of their classes, so nobody "
            "can tell whose they are: start from class-shared ones, or evaluate it with --model-dir"
        )
    place = {name: row for row, name in enumerate(named)}
    missing = [name for name in class_names if name not in place]
    if len(missing) == len(class_names):
        raise InputError(
            f"it holds class-specific contexts (CSC) of other classes: none of this run's "
            f"{len(class_names)} ({', '.join(class_names[:3])}, …) is among its {len(named)} "
            f"({', '.join(named[:3])}, …)"
        )
    return [place.get(name) for name in class_names], missing
