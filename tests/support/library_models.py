"""Small models of open_clip and transformers, made by their own constructors, on disk in their
own formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from places import ROOT

_TEXT: dict[str, Any] = {
    "context_length": 77,
    "vocab_size": 49408,
    "width": 64,
    "heads": 2,
    "layers": 2,
}
_VIT: dict[str, Any] = {
    "image_size": 48,
    "patch_size": 16,
    "width": 64,
    "head_width": 16,
    "layers": 3,
}
_SIGLIP_TEXT: dict[str, Any] = _TEXT | {
    "context_length": 16,
    "no_causal_mask": True,
    "pool_type": "last",
    "proj_bias": True,
    "norm_kwargs": {"eps": 1e-6},
    "act_kwargs": {"approximate": "tanh"},
}
_TIMM_VIT: dict[str, Any] = {
    "image_size": 224,
    "timm_model_name": "vit_tiny_patch16_224",
    "timm_model_pretrained": False,
    "timm_pool": "avg",
    "timm_proj": "linear",
}
_SIGLIP_VISION = _TIMM_VIT | {"timm_pool": "map", "timm_proj": "none"}
#: model_cfg of open_clip, by family
OPEN_CLIP: dict[str, dict[str, Any]] = {
    "vit_gelu": {"embed_dim": 32, "vision_cfg": _VIT, "text_cfg": _TEXT},
    "vit_quick_gelu": {
        "embed_dim": 32, "quick_gelu": True, "vision_cfg": _VIT, "text_cfg": _TEXT,
    },
    "vit_layer_scale": {
        "embed_dim": 32,
        "custom_text": True,
        "vision_cfg": _VIT | {"ls_init_value": 0.5},
        "text_cfg": _TEXT | {"ls_init_value": 0.5},
    },
    "vit_average": {
        "embed_dim": 32,
        "vision_cfg": _VIT | {"pool_type": "avg", "no_ln_pre": True},
        "text_cfg": _TEXT,
    },
    "resnet": {
        "embed_dim": 32,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 64, "layers": [1, 2, 1, 1], "width": 8, "head_width": 64},
        "text_cfg": _TEXT,
    },
    "timm": {
        "embed_dim": 32, "custom_text": True, "vision_cfg": _TIMM_VIT, "text_cfg": _TEXT,
    },
    "multilingual": {
        "embed_dim": 32,
        "vision_cfg": _VIT,
        "text_cfg": {
            "hf_proj_type": "mlp", "hf_pooler_type": "mean_pooler", "context_length": 20,
        },
    },
    "bidirectional": {
        "embed_dim": 64,
        "custom_text": True,
        "init_logit_bias": -10.0,
        "vision_cfg": _VIT,
        "text_cfg": _SIGLIP_TEXT,
    },
    "timm_siglip": {
        "embed_dim": 192,
        "custom_text": True,
        "init_logit_bias": -10.0,
        "vision_cfg": _SIGLIP_VISION,
        "text_cfg": _SIGLIP_TEXT | {"width": 192, "context_length": 32},
    },
}  # fmt: skip
PREPROCESS = {
    "mean": [0.5, 0.4, 0.3],
    "std": [0.2, 0.3, 0.4],
    "interpolation": "bilinear",
    "resize_mode": "squash",
}


def randomise(model: nn.Module) -> None:
    """Every weight drawn anew: zeros and ones of a fresh model hide mistakes."""
    generator = torch.Generator().manual_seed(0)
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if not value.is_floating_point() or name.endswith(("attn_mask", "logit_scale")):
            continue
        draw = torch.empty(value.shape)
        if name.endswith("running_var") or (value.ndim == 1 and name.endswith("weight")):
            draw.uniform_(0.5, 1.5, generator=generator)
        elif value.ndim > 1:
            fan_in = value[0].numel() if name.endswith("weight") else value.shape[-1]
            draw.uniform_(-1, 1, generator=generator).mul_((3 / fan_in) ** 0.5)
        else:
            draw.uniform_(-0.2, 0.2, generator=generator)
        value.data.copy_(draw)


def captions() -> list[str]:
    """The sample captions of the tests."""
    lines = (ROOT / "tests/samples/coco_captions.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["caption"] for line in lines]


def save_tokenizer(folder: Path, *, unigram: bool = False) -> Any:
    """A small tokenizer trained on the sample captions, in transformers' format.

    ``unigram``: as SigLIP's and XLM-R's (``</s>`` behind, no SOS); else CLIP's kind, with SOS.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from tokenizers.trainers import BpeTrainer, UnigramTrainer
    from transformers import PreTrainedTokenizerFast

    texts = [*captions(), "ein Hund läuft über die Straße", "une voiture rouge et un chien"]
    if unigram:
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.normalizer = normalizers.Lowercase()
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Metaspace()
        special = ["<pad>", "</s>", "<unk>"]
        trainer: Any = UnigramTrainer(
            vocab_size=600, special_tokens=special, unk_token="<unk>", show_progress=False
        )
        names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
        template = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    else:
        tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<unk>"))
        tokenizer.normalizer = normalizers.Lowercase()
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        special = ["<pad>", "<unk>", "<start>", "<end>"]
        trainer = BpeTrainer(
            vocab_size=600, special_tokens=special, end_of_word_suffix="</w>", show_progress=False
        )
        names = {"pad_token": "<end>", "eos_token": "<end>", "unk_token": "<unk>"}
        names["bos_token"] = "<start>"
        template = processors.TemplateProcessing(
            single="<start> $A <end>", special_tokens=[("<start>", 2), ("<end>", 3)]
        )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = template
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **names)
    fast.save_pretrained(folder)
    return fast


def save_open_clip(folder: Path, family: str, **changed: dict[str, Any]) -> Path:
    """A folder with ``open_clip_config.json`` and weights; see ``OPEN_CLIP``.

    ``changed``: entries of a part of ``model_cfg`` that are another.
    """
    import open_clip

    cfg = json.loads(json.dumps(OPEN_CLIP[family]))
    for part, entries in changed.items():
        cfg[part] |= entries
    if family == "multilingual":
        place = folder / "text"
        vocabulary = len(save_tokenizer(folder, unigram=True))
        _xlm_roberta(vocabulary).save_pretrained(place)
        cfg["text_cfg"] |= {
            "hf_model_name": str(place),
            "hf_tokenizer_name": str(folder),
        }
    if family in ("bidirectional", "timm_siglip"):
        vocabulary = len(save_tokenizer(folder, unigram=True))
        cfg["text_cfg"] |= {
            "hf_tokenizer_name": str(folder), "vocab_size": vocabulary,
            "tokenizer_kwargs": {"clean": "canonicalize"},
        }  # fmt: skip
    folder.mkdir(exist_ok=True, parents=True)
    content = {"model_cfg": cfg, "preprocess_cfg": PREPROCESS}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False, pretrained_text=False)
    randomise(model)
    save_file(
        {key: value.contiguous() for key, value in model.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    return folder


def _xlm_roberta(vocabulary: int) -> Any:
    from transformers import XLMRobertaConfig, XLMRobertaModel

    config = XLMRobertaConfig(
        vocab_size=vocabulary, hidden_size=48, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=64, max_position_embeddings=70, pad_token_id=0, bos_token_id=2,
        eos_token_id=1,
    )  # fmt: skip
    return XLMRobertaModel(config, add_pooling_layer=False)


def save_transformers(folder: Path, kind: str) -> Any:
    """A ``clip_gelu``, ``clip_quick_gelu`` or ``siglip`` of transformers; returns the model."""
    import transformers

    siglip = kind == "siglip"
    tokenizer = save_tokenizer(folder, unigram=siglip)
    act = {"clip_gelu": "gelu", "clip_quick_gelu": "quick_gelu", "siglip": "gelu_pytorch_tanh"}
    shared = {
        "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "hidden_act": act[kind],
    }  # fmt: skip
    text = shared | {
        "vocab_size": len(tokenizer), "max_position_embeddings": 24,
        "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": None if siglip else tokenizer.bos_token_id,
    }  # fmt: skip
    vision = shared | {"image_size": 48, "patch_size": 16}
    if siglip:
        config = transformers.SiglipConfig(
            text_config=text | {"projection_size": 64}, vision_config=vision
        )
        model: Any = transformers.SiglipModel(config)
        processor: Any = transformers.SiglipImageProcessor(size={"height": 48, "width": 48})
    else:
        config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=32)
        model = transformers.CLIPModel(config)
        processor = transformers.CLIPImageProcessor(
            size={"shortest_edge": 48}, crop_size={"height": 48, "width": 48}
        )
    randomise(model)
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return model
