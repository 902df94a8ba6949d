"""What a backbone is made of, whatever library its weights came from."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tai_dpt.backbones.resnet import DenseResNet
from tai_dpt.backbones.text import TextEncoder
from tai_dpt.backbones.vit import DenseViT
from tai_dpt.backbones.weights import weights_hash

ImageTower = DenseResNet | DenseViT


@dataclass
class Towers:
    """Two frozen towers in fp32, and what else their weights say.

    Attributes:
        weights_hash: SHA-256 of the weights, whatever file they came in.
        logit_scale: the factor of similarities that the model was trained with.
    """

    text: TextEncoder
    image: ImageTower
    weights_hash: str
    logit_scale: float


def classic_towers(
    state: MutableMapping[str, Tensor], *, text_heads: int, image_heads: int
) -> Towers:
    """The towers of a CLIP of OpenAI's shapes.

    Args:
        state: its state dict in OpenAI's layout. The tensors are taken out of it and changed,
            so that no second copy of them is ever in memory.
        text_heads, image_heads: numbers of attention heads; a ResNet's are its pool's.
    """
    identity = weights_hash(state)
    scale = float(state["logit_scale"].float().exp())
    image = _image_tower(state, heads=image_heads)
    return Towers(TextEncoder(state, heads=text_heads), image, identity, scale)


def _image_tower(state: MutableMapping[str, Tensor], *, heads: int) -> ImageTower:
    if "visual.class_embedding" in state:
        return DenseViT(state, heads=heads)
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
    return classic_towers(
        state,
        text_heads=clip_model.transformer.resblocks[0].attn.num_heads,
        image_heads=attention.num_heads,
    )
