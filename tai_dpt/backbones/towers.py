"""What a backbone is made of, whatever library its weights came from."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tai_dpt.backbones.adapter import LibraryImage, LibraryText
from tai_dpt.backbones.preprocessing import Preprocessing
from tai_dpt.backbones.resnet import DenseResNet
from tai_dpt.backbones.text import TextEncoder
from tai_dpt.backbones.tokenizers import ClipTokenizer, Tokenizer
from tai_dpt.backbones.vit import DenseViT
from tai_dpt.backbones.weights import weights_hash

ImageTower = DenseResNet | DenseViT | LibraryImage
TextTower = TextEncoder | LibraryText


@dataclass
class Towers:
    """Two frozen towers in fp32, and what else came with their weights.

    Attributes:
        weights_hash: SHA-256 of the weights, whatever file they came in.
        logit_scale: the factor of similarities that the model was trained with.
        preprocessing: of images, as in its training.
        library: whose model it is, for the reader.
    """

    text: TextTower
    image: ImageTower
    weights_hash: str
    logit_scale: float
    tokenizer: Tokenizer
    preprocessing: Preprocessing
    library: str = "OpenAI"


def text_tower(
    state: MutableMapping[str, Tensor], *, heads: int, activation: str = "quick_gelu"
) -> TextEncoder:
    """CLIP's text tower from a state dict in OpenAI's layout, whose tensors are taken over."""
    return TextEncoder(state, heads=heads, activation=activation)


def image_tower(
    state: MutableMapping[str, Tensor], *, heads: int, activation: str = "quick_gelu"
) -> DenseResNet | DenseViT:
    """CLIP's image tower from a state dict in OpenAI's layout, whose tensors are taken over."""
    if "visual.class_embedding" in state:
        return DenseViT(state, heads=heads, activation=activation)
    return DenseResNet(state, heads=heads)


def towers_of(clip_model: Any, *, owned: bool = False) -> Towers:
    """The towers of a ``clip.model.CLIP`` (any copy of that class).

    Args:
        owned: nobody else uses the model, so its tensors may be taken over and changed; left
            out, they are copied and the model stays as it is.
    """
    state = {
        key: value.detach() if owned else value.detach().clone()
        for key, value in clip_model.state_dict().items()
    }
    visual = clip_model.visual
    attention = getattr(visual, "attnpool", None) or visual.transformer.resblocks[0].attn
    identity, scale = weights_hash(state), float(state["logit_scale"].float().exp())
    text = text_tower(state, heads=clip_model.transformer.resblocks[0].attn.num_heads)
    image = image_tower(state, heads=attention.num_heads)
    return Towers(
        text=text,
        image=image,
        weights_hash=identity,
        logit_scale=scale,
        tokenizer=ClipTokenizer(text.context_length),
        preprocessing=Preprocessing((image.image_size, image.image_size)),
    )
