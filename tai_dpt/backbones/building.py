"""From a state dict to a model of the ``clip`` package: the sizes are read off the shapes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tai_dpt.backbones.clip_package import clip_class
from tai_dpt.backbones.weights import VOCABULARY_SIZE
from tai_dpt.errors import InputError, first_few

HEAD_WIDTH = 64  # of every attention head in CLIP
_RESNET_STRIDE = 32
_TEXT_KEYS = (
    "token_embedding.weight",
    "positional_embedding",
    "transformer.resblocks.0.attn.in_proj_weight",
    "ln_final.weight",
    "text_projection",
    "logit_scale",
)
_RESNET_KEYS = ("visual.layer1.0.conv1.weight", "visual.attnpool.positional_embedding")
_VIT_KEYS = ("visual.conv1.weight", "visual.positional_embedding", "visual.proj")
# of those keys, those that are no matrices
_SIDES = {
    **{"ln_final.weight": 1, "logit_scale": 0},
    **{"visual.layer1.0.conv1.weight": 4, "visual.conv1.weight": 4},
}


def build_clip(state: Mapping[str, Tensor], *, source: str = "state dict") -> nn.Module:
    """A frozen ``clip.model.CLIP`` that holds ``state``'s tensors themselves, not copies.

    Args:
        state: a state dict in OpenAI's layout, see :func:`weights.read_state_dict`.
        source: the file's name, for error messages.

    Raises:
        InputError: it is not the state dict of a CLIP; the message names what is missing.
    """
    sizes = clip_sizes(state, source=source)
    # without storage: neither time for random weights nor a draw from the global generator
    with torch.device("meta"), _NoValues():
        model = clip_class()(**sizes)
    for module in model.modules():
        if isinstance(getattr(module, "attn_mask", None), Tensor):  # a plain attribute, no buffer
            module.attn_mask = model.build_attention_mask()
    expected = model.state_dict()
    counters = [key for key in expected if key.endswith("num_batches_tracked")]
    state = {**{key: torch.tensor(0) for key in counters}, **state}
    _check(expected, state, source)
    model.load_state_dict(state, assign=True)
    frozen: nn.Module = model.requires_grad_(False).eval()
    return frozen


class _NoValues(TorchFunctionMode):
    """Nothing is drawn, filled or scaled: the device "meta" does that in Python code whose import
    takes as long as torch's."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        in_place = func.__name__.endswith("_") and not func.__name__.endswith("__")
        if in_place or func in (Tensor.div, Tensor.mul):
            return args[0] if args else named["tensor"]
        return (torch.empty if func is torch.randn else func)(*args, **named)


def clip_sizes(state: Mapping[str, Tensor], *, source: str = "state dict") -> dict[str, Any]:
    """The arguments of ``clip.model.CLIP`` that fit the shapes in ``state``.

    Raises:
        InputError: a key that tells a size is missing, or its shape makes no sense.
    """
    vit = any(key in state for key in ("visual.class_embedding", "visual.proj"))
    wanted = _TEXT_KEYS + (_VIT_KEYS if vit else _RESNET_KEYS)
    missing = [key for key in wanted if key not in state]
    if missing:
        raise _not_clip(source, f"it lacks {first_few(map(repr, missing))}")
    for key in wanted:
        if state[key].ndim != _SIDES.get(key, 2):
            raise _not_clip(
                source, f"'{key}' has {state[key].ndim} dimensions, expected {_SIDES.get(key, 2)}"
            )
    tokens = len(state["token_embedding.weight"])
    if tokens < VOCABULARY_SIZE:
        raise _not_clip(
            source, f"it knows {tokens:,} tokens, and OpenAI's tokenizer gives {VOCABULARY_SIZE:,}"
        )
    text_width = state["ln_final.weight"].shape[0]
    sizes: dict[str, Any] = {
        "embed_dim": state["text_projection"].shape[-1],
        "context_length": state["positional_embedding"].shape[0],
        "vocab_size": tokens,
        "transformer_width": text_width,
        "transformer_heads": text_width // HEAD_WIDTH,
        "transformer_layers": _count(r"transformer\.resblocks\.(\d+)\.", state),
    }
    if vit:
        width, _, _, patch = state["visual.conv1.weight"].shape
        grid = _grid(state["visual.positional_embedding"], "visual.positional_embedding", source)
        sizes |= {
            "image_resolution": grid * patch,
            "vision_layers": _count(r"visual\.transformer\.resblocks\.(\d+)\.", state),
            "vision_width": width,
            "vision_patch_size": patch,
        }
        attended = width
    else:
        key = "visual.attnpool.positional_embedding"
        width = state["visual.layer1.0.conv1.weight"].shape[0]
        sizes |= {
            "image_resolution": _grid(state[key], key, source) * _RESNET_STRIDE,
            "vision_layers": tuple(
                _count(rf"visual\.layer{stage}\.(\d+)\.", state) for stage in (1, 2, 3, 4)
            ),
            "vision_width": width,
            "vision_patch_size": None,
        }
        attended = width * 32
    for tower in (attended, text_width):
        if tower < HEAD_WIDTH or tower % (tower // HEAD_WIDTH):
            raise _not_clip(
                source, f"a tower of width {tower} does not divide into heads of {HEAD_WIDTH}"
            )
    return sizes


def _check(expected: Mapping[str, Tensor], state: Mapping[str, Tensor], source: str) -> None:
    """Every weight there, none left over, all of the expected shape."""
    missing = [key for key in expected if key not in state]
    if missing:
        raise _not_clip(source, f"it lacks {first_few(map(repr, missing))}")
    extra = [key for key in state if key not in expected]
    if extra:
        raise _not_clip(source, f"CLIP has no {first_few(map(repr, extra))}")
    for key, value in expected.items():
        if state[key].shape != value.shape:
            raise _not_clip(
                source, f"'{key}' is {tuple(state[key].shape)}, expected {tuple(value.shape)}"
            )
        if value.is_floating_point() and not state[key].is_floating_point():
            raise _not_clip(source, f"'{key}' holds {state[key].dtype}, expected fractions")


def _count(pattern: str, keys: Iterable[str]) -> int:
    """How many layers: the different numbers at ``pattern``'s group."""
    return len({m[1] for key in keys if (m := re.match(pattern, key))})


def _grid(positions: Tensor, key: str, source: str) -> int:
    """Side of the square grid behind a position embedding (1 + side², width)."""
    side = math.isqrt(max(len(positions) - 1, 0))
    if side == 0 or side * side + 1 != len(positions):
        raise _not_clip(source, f"'{key}' has {len(positions)} rows, not 1 + a square number")
    return side


def _not_clip(source: str, why: str) -> InputError:
    return InputError(f"'{source}' is not a CLIP state dict in OpenAI's layout: {why}")
