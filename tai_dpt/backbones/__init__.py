"""CLIP, frozen: captions and images in, dense features out. The only door to ``clip``,
``open_clip`` and ``transformers``."""

from tai_dpt.backbones.backbone import Backbone, backbone_names, has_name, load_backbone
from tai_dpt.backbones.preprocessing import PIXEL_MEAN, PIXEL_STD, Preprocessing
from tai_dpt.backbones.text import TextEncoder
from tai_dpt.backbones.vit import FIRST_DENSE

__all__ = [
    "FIRST_DENSE",
    "PIXEL_MEAN",
    "PIXEL_STD",
    "Backbone",
    "Preprocessing",
    "TextEncoder",
    "backbone_names",
    "has_name",
    "load_backbone",
]
