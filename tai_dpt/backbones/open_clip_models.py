"""Models of open_clip. The only door to ``open_clip``, which is imported at first use.

A tower of CLIP's own shape is converted into this project's; any other is run by open_clip.
"""

from __future__ import annotations

import contextlib
import logging
import os
import zipfile
from collections.abc import Iterator
from functools import partialmethod
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tai_dpt.backbones.adapter import LibraryImage, LibraryText
from tai_dpt.backbones.building import HEAD_WIDTH
from tai_dpt.backbones.hub import CONFIG_FILES, cached_first, check_place, hint, reading
from tai_dpt.backbones.preprocessing import Preprocessing
from tai_dpt.backbones.tokenizers import (
    LONG_TEXT,
    ClipTokenizer,
    LibraryTokenizer,
    Tokenizer,
)
from tai_dpt.backbones.towers import ImageTower, TextTower, Towers, image_tower, text_tower
from tai_dpt.backbones.weights import built_as, check_values, weights_hash
from tai_dpt.errors import InputError, unknown
from tai_dpt.io.opening import expanded

CONFIG_FILE = CONFIG_FILES["hf-hub"]
_EPSILON = 1e-5  # of the layer norms in CLIP's towers
# of torch.nn.init, what fills a tensor
_DRAWS = [name for name in vars(nn.init) if name.endswith("_") and not name.startswith("_")]


def load_open_clip(given: str) -> Towers:
    """The towers of ``open_clip:ARCHITECTURE/TAG``, ``open_clip:ARCHITECTURE@file`` or
    ``hf-hub:…``, a repository of the hub or a folder.

    Raises:
        InputError: open_clip is not installed; it knows no such architecture or tag; the weights
            are missing, or of another architecture; the model has a shape that cannot be used.
    """
    with reading(given):
        library = _open_clip()
        name, weights = _name_and_weights(library, given)
        with _quiet():
            return _load(library, given, name, weights)


def _load(library: Any, given: str, name: str, weights: str | None) -> Towers:
    model = _create(library, name, weights)
    read = _reading(library, name, model)
    preprocessing = _preprocessing(given, model)
    text = getattr(model, "text", model)
    most = max(map(max, read.tokenizer.ids(["a photo.", LONG_TEXT])))
    known = _token_embedding(text).num_embeddings
    if most >= known:
        raise InputError(
            f"'{given}': its tokenizer gives token {most:,}, and the model knows {known:,}: one of "
            "them is another model's"
        )
    state = {key: value.detach() for key, value in model.state_dict().items()}
    check_values(state, given)
    activations = [
        _activation(part) for part in (model.visual, text) if hasattr(part, "transformer")
    ]
    identity = weights_hash(state, note=_note(model, activations))
    scale = float(state["logit_scale"].float().exp())
    image = _image(model, state, preprocessing)
    return Towers(
        text=_text(model, text, state, read),
        image=image,
        weights_hash=identity,
        logit_scale=scale,
        tokenizer=read.tokenizer,
        preprocessing=preprocessing,
        library=f"open_clip {library.__version__}",
    )


def _open_clip() -> Any:
    try:
        return import_module("open_clip")
    except ImportError as error:
        raise InputError(
            f"this backbone needs open_clip ({error}): pip install 'tai-dpt[open-clip]'"
        ) from error


def _name_and_weights(library: Any, given: str) -> tuple[str, str | None]:
    """What open_clip calls the model, and its tag or weight file."""
    kind, _, rest = given.partition(":")
    if kind == "hf-hub":
        check_place(rest)
        folder = expanded(rest)
        if not folder.is_dir():
            return given, None
        if not (folder / CONFIG_FILE).is_file():
            raise InputError(
                f"{folder} has no {CONFIG_FILE}, so it is no model of open_clip"
                f"{hint(folder, asked=kind)}"
            )
        return f"local-dir:{folder}", None
    name, at, file = rest.partition("@")
    if file:
        if not expanded(file).is_file():
            raise InputError(f"'{given}': no such file: {file}")
        weights = str(expanded(file))
    else:
        name, slash, weights = rest.rpartition("/")
        if at or not slash:
            raise InputError(
                f"'{given}' names no weights: write open_clip:ARCHITECTURE/TAG, or "
                "open_clip:ARCHITECTURE@FILE"
            )
    if name not in library.list_models():
        raise unknown("architecture of open_clip", name, library.list_models())
    if not file:
        tags = library.list_pretrained_tags_by_model(name)
        if weights not in tags:
            raise unknown(f"weights of {name} in open_clip", weights, tags)
    return name, weights


def _create(library: Any, name: str, weights: str | None) -> Any:
    def create() -> Any:
        return library.create_model(name, pretrained=weights, require_pretrained=True)

    with _taken_over():
        return cached_first(create).float().eval()


@contextlib.contextmanager
def _taken_over() -> Iterator[None]:
    """A file's tensors, which are mapped, take the place of a model's own, which are not drawn.

    A model that lacks some is refused (open_clip loads strictly), so none stays as it was made.
    """
    read = torch.load

    def mapped(file: Any, *args: Any, **options: Any) -> Any:
        if isinstance(file, str | os.PathLike) and zipfile.is_zipfile(file):
            options["mmap"] = True  # what torch.save wrote before 1.6 is no zip file
        return read(file, *args, **options)

    changed: list[tuple[Any, str, Any]] = [
        (torch, "load", mapped),
        (nn.Module, "load_state_dict", partialmethod(nn.Module.load_state_dict, assign=True)),
        *((nn.init, name, lambda tensor, *_, **__: tensor) for name in _DRAWS),
    ]
    usual = [getattr(owner, name) for owner, name, _ in changed]
    try:
        for owner, name, other in changed:
            setattr(owner, name, other)
        yield
    finally:
        for (owner, name, _), own in zip(changed, usual, strict=True):
            setattr(owner, name, own)


class _Reading(NamedTuple):
    """How a model reads texts.

    Args:
        ends_largest: whether a text ends with the largest of all ids, where models look for it.
        closing: of a text, behind its padding.
    """

    tokenizer: Tokenizer
    pad_id: int = 0
    ends_largest: bool = True
    closing: tuple[int, ...] = ()


def _reading(library: Any, name: str, model: Any) -> _Reading:
    theirs = cached_first(lambda: library.get_tokenizer(name))
    length = theirs.context_length or model.context_length
    if isinstance(theirs, library.SimpleTokenizer):
        own = ClipTokenizer(length)
        odd = ["Émile's DOGS &amp; cats…  2!", "a photo.", LONG_TEXT]
        if [row[row != 0].tolist() for row in theirs(odd)] == own.ids(odd):
            return _Reading(own)
        pieces = theirs.decoder.__getitem__
        tokenizer = LibraryTokenizer(
            lambda texts, most: theirs(texts, context_length=most).tolist(),
            context_length=length,
            pieces=lambda ids: [pieces(i) for i in ids],
            pad_id=0,
            ends_with_padding=False,
            name="SimpleTokenizer",
        )
        return _Reading(tokenizer)
    inner = theirs.tokenizer
    pad, end = int(inner.pad_token_id or 0), inner("a").input_ids[-1]
    mode = getattr(theirs, "tokenizer_mode", "")
    closing = (int(inner.cls_token_id),) if mode == "clips" else ()
    last = len(closing)
    tokenizer = LibraryTokenizer(
        lambda texts, most: theirs(texts, context_length=most + last)[:, :most].tolist(),
        context_length=length - last,
        pieces=inner.convert_ids_to_tokens,
        pad_id=pad,
        ends_with_padding=end == pad,
        name=type(inner).__name__,
    )
    return _Reading(tokenizer, pad, end == len(inner) - 1, closing)


def _preprocessing(given: str, model: Any) -> Preprocessing:
    theirs = model.visual.preprocess_cfg
    size = theirs["size"]
    views = {"shortest": "center", "squash": "whole"}
    if theirs["resize_mode"] not in views:
        raise InputError(
            f"'{given}' prepares images by '{theirs['resize_mode']}', which is not supported: "
            f"{' or '.join(views)}"
        )
    sides = [size, size] if isinstance(size, int) else list(size)
    if theirs["resize_mode"] == "shortest" and sides[0] != sides[1]:
        raise InputError(
            f"'{given}' prepares images by 'shortest' at {sides[0]}×{sides[1]}, which is supported "
            "for squares only: squash"
        )
    return Preprocessing.from_dict(
        {
            "size": sides,
            "view": views[theirs["resize_mode"]],
            "interpolation": "bilinear" if theirs["interpolation"] == "bilinear" else "bicubic",
            "mean": list(map(float, theirs["mean"])),
            "std": list(map(float, theirs["std"])),
        }
    )


def _image(model: Any, state: dict[str, Tensor], preprocessing: Preprocessing) -> ImageTower:
    visual = model.visual
    if type(visual).__name__ == "ModifiedResNet":
        return image_tower(state, heads=visual.attnpool.num_heads)
    if _is_clips_vit(visual):
        _fold_layer_scale(state, visual.transformer, "visual.")
        heads = visual.transformer.resblocks[0].attn.num_heads
        return image_tower(state, heads=heads, activation=_activation(visual))
    trunk = getattr(visual, "trunk", None)
    pool = getattr(trunk, "attn_pool", None)
    layers = [getattr(trunk, name, None) for name in ("fc_norm", "head_drop", "head")]
    behind = nn.Sequential(*[layer for layer in (*layers, visual.head) if layer]) if pool else None
    # of a class token, which timm's Eva always shows to the pool (PE-Core)
    shown = getattr(trunk, "pool_include_prefix", True)
    return LibraryImage(
        visual,
        encode=visual,
        size=preprocessing.size,
        pool=pool,
        before_places=getattr(trunk, "num_prefix_tokens", 0) if shown else 0,
        **({"after_pool": behind} if behind is not None else {}),
    )


def _text(model: Any, text: Any, state: dict[str, Tensor], read: _Reading) -> TextTower:
    if _is_clips_text(text) and read.ends_largest:
        if text is not model:
            for key in [key for key in state if key.startswith("text.")]:
                state[key.removeprefix("text.")] = state.pop(key)
        _fold_layer_scale(state, text.transformer, "")
        heads = text.transformer.resblocks[0].attn.num_heads
        return text_tower(state, heads=heads, activation=_activation(text))
    hugging_face = hasattr(text, "config")
    if text is model:
        model.visual = nn.Identity()  # the tower's weights alone are kept
    return LibraryText(
        text,
        encode=model.encode_text if text is model else text,
        embedding=_token_embedding(text),
        context_length=read.tokenizer.context_length,
        pad_id=read.pad_id,
        sees_padding=not hugging_face or text.config.pad_token_id != read.pad_id,
        closing=read.closing,
    )


def _token_embedding(text: Any) -> Any:
    return (
        text.transformer.get_input_embeddings() if hasattr(text, "config") else text.token_embedding
    )


def _is_clips_vit(visual: Any) -> bool:
    """Whether an image tower is of the shape of OpenAI's: class token, norms, plain blocks."""
    return (
        type(visual).__name__ == "VisionTransformer"
        and visual.pool_type == "tok"
        and visual.attn_pool is None
        and visual.proj is not None
        and isinstance(visual.ln_pre, nn.LayerNorm)
        and visual.grid_size[0] == visual.grid_size[1]
        and visual.patch_size[0] == visual.patch_size[1]
        and _is_plain(visual.transformer)
        and all(norm.eps == _EPSILON for norm in (visual.ln_pre, visual.ln_post))
    )


def _is_clips_text(text: Any) -> bool:
    """Whether a text tower is of the shape of OpenAI's: causal, read at the largest id, plain
    blocks."""
    return (
        hasattr(text, "ln_final")
        and getattr(text, "attn_mask", None) is not None
        and getattr(text, "cls_emb", None) is None
        and getattr(text, "pool_type", getattr(text, "text_pool_type", "")) == "argmax"
        and isinstance(text.text_projection, nn.Parameter)
        and text.ln_final.eps == _EPSILON
        and _is_plain(text.transformer)
    )


def _is_plain(transformer: Any) -> bool:
    return all(
        type(block).__name__ == "ResidualAttentionBlock"
        and _gelu_kind(block.mlp.gelu) is not None
        and block.ln_1.eps == block.ln_2.eps == _EPSILON
        for block in transformer.resblocks
    )


def _activation(part: Any) -> str:
    blocks = getattr(part.transformer, "resblocks", None)
    return (_gelu_kind(blocks[0].mlp.gelu) if blocks else None) or "other"


def _gelu_kind(layer: nn.Module) -> str | None:
    if type(layer).__name__ == "QuickGELU":
        return "quick_gelu"
    return "gelu" if isinstance(layer, nn.GELU) and layer.approximate == "none" else None


def _fold_layer_scale(state: dict[str, Tensor], transformer: Any, prefix: str) -> None:
    """x + γ·f(x), with γ put into the last layer of f."""
    for number, block in enumerate(transformer.resblocks):
        for scale, layer in (("ls_1", "attn.out_proj"), ("ls_2", "mlp.c_proj")):
            if not hasattr(getattr(block, scale), "gamma"):
                continue
            at = f"{prefix}transformer.resblocks.{number}."
            gamma = state.pop(f"{at}{scale}.gamma")
            state[f"{at}{layer}.weight"].mul_(gamma[:, None])
            state[f"{at}{layer}.bias"].mul_(gamma)


def _note(model: Any, activations: list[str]) -> str:
    """What the features depend on beside the weights, where it is not as in OpenAI's models."""
    classic = type(model).__name__ == "CLIP" and set(activations) <= {"quick_gelu"}
    if classic and all(HEAD_WIDTH * n == width for n, width in _heads(model)):
        return ""
    return f"{type(model).__name__} {' '.join(activations)} {built_as(model)}"


def _heads(model: Any) -> Iterator[tuple[int, int]]:
    """How many an attention has, and its width."""
    for layer in model.modules():
        if isinstance(layer, nn.MultiheadAttention):
            yield layer.num_heads, layer.embed_dim
        elif type(layer).__name__ == "AttentionPool2d":
            yield layer.num_heads, layer.k_proj.in_features


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """open_clip logs every step of a model's making to the root logger."""
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging.root.setLevel(level)
