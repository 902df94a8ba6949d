"""CLIP and SigLIP as transformers keeps them. The only door to ``transformers``.

``CLIPModel`` is of CLIP's own shape and converted into this project's towers; ``SiglipModel`` is
run by transformers.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tai_dpt.backbones.adapter import LibraryImage, LibraryText
from tai_dpt.backbones.blocks import ACTIVATIONS
from tai_dpt.backbones.building import HEAD_WIDTH
from tai_dpt.backbones.hub import CONFIG_FILES, cached_first, check_place, hint, reading
from tai_dpt.backbones.preprocessing import PIXEL_MEAN, PIXEL_STD, Preprocessing
from tai_dpt.backbones.tokenizers import LibraryTokenizer
from tai_dpt.backbones.towers import Towers, image_tower, text_tower
from tai_dpt.backbones.weights import built_as, check_values, weights_hash
from tai_dpt.errors import InputError, first_few
from tai_dpt.io.opening import expanded
from tai_dpt.io.reading import read_json

_KINDS = {"clip": "CLIPModel", "siglip": "SiglipModel"}
CONFIG_FILE = CONFIG_FILES["transformers"]
_TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "spiece.model", "tokenizer.model", "vocab.txt")
_EPSILON = 1e-5
# of an image processor: what images are prepared by here
_PREPARED = {"do_resize": True, "do_rescale": True, "rescale_factor": 1 / 255, "do_pad": False}
_RESAMPLE = {0: "nearest", 2: "bilinear", 3: "bicubic"}
# transformers' name of a layer in a block -> OpenAI's
_BLOCK = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_OUTSIDE = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight",  # sic
    "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
    "vision_model.post_layernorm.weight": "visual.ln_post.weight",
    "vision_model.post_layernorm.bias": "visual.ln_post.bias",
    "logit_scale": "logit_scale",
}
_TRANSPOSED = {
    "text_projection.weight": "text_projection",
    "visual_projection.weight": "visual.proj",
}


def load_transformers(given: str) -> Towers:
    """The towers of ``transformers:FOLDER`` or ``transformers:ID``.

    Raises:
        InputError: transformers is not installed; there is no such model, or it is neither of
            CLIP's nor of SigLIP's kind; it has no tokenizer, or its weights do not fit.
    """
    with reading(given):
        library = _transformers()
        with _quiet(library):
            return _load(library, given)


def _load(library: Any, given: str) -> Towers:
    place = given.partition(":")[2]
    check_place(place)
    folder = expanded(place)
    place = str(folder) if folder.is_dir() else place
    if folder.is_dir() and not (folder / CONFIG_FILE).is_file():
        raise InputError(
            f"{folder} has no {CONFIG_FILE}, so it is no model of transformers"
            f"{hint(folder, asked='transformers')}"
        )
    config = _read(library.AutoConfig, place)
    if config.model_type not in _KINDS:
        raise InputError(
            f"'{given}' is a model of kind '{config.model_type}', not one of "
            f"{', '.join(_KINDS.values())} ({', '.join(_KINDS)})"
        )
    if folder.is_dir() and not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise InputError(
            f"{folder} has no tokenizer ({', '.join(_TOKENIZER_FILES)}): save it there too "
            "(tokenizer.save_pretrained)"
        )
    _check_shape(config, given)
    model = _model(library, config, place, given)
    theirs = _read(library.AutoTokenizer, place)
    _check_tokenizer(theirs, config, given)
    length = int(config.text_config.max_position_embeddings)
    tokenizer = LibraryTokenizer(
        lambda texts, most: (
            theirs(
                texts,
                truncation=True,
                max_length=most,
                split_special_tokens=True,  # one in a caption is a word, and ends nothing
            ).input_ids
        ),
        context_length=length,
        pieces=theirs.convert_ids_to_tokens,
        pad_id=int(theirs.pad_token_id),
        ends_with_padding=theirs("a").input_ids[-1] == theirs.pad_token_id,
        name=type(theirs).__name__,
    )
    state = {key: value.detach() for key, value in model.state_dict().items()}
    check_values(state, given)
    parts = _clip(model, state) if config.model_type == "clip" else _siglip(model, state, theirs)
    return Towers(
        **parts,
        tokenizer=tokenizer,
        preprocessing=_preprocessing(library, config, place, given),
        library=f"transformers {library.__version__}",
    )


def _transformers() -> Any:
    try:
        return import_module("transformers")
    except ImportError as error:
        raise InputError(
            f"this backbone needs transformers ({error}): pip install 'tai-dpt[transformers]'"
        ) from error


@contextlib.contextmanager
def _quiet(library: Any) -> Iterator[None]:
    """transformers shows bars of its own, and says of a model what is not for its user."""
    said = library.utils.logging
    level, bars = said.get_verbosity(), said.is_progress_bar_enabled()
    said.set_verbosity_error()
    said.disable_progress_bar()
    try:
        yield
    finally:
        said.set_verbosity(level)
        if bars:
            said.enable_progress_bar()


def _read(factory: Any, place: str) -> Any:
    return cached_first(lambda: factory.from_pretrained(place))


def _check_tokenizer(theirs: Any, config: Any, given: str) -> None:
    """Whether what it gives is what the model was made for."""
    text = config.text_config
    if theirs.pad_token_id is None:
        raise InputError(f"'{given}': its tokenizer has no pad_token: save it with one")
    if len(theirs) > text.vocab_size:
        raise InputError(
            f"'{given}': its tokenizer knows {len(theirs):,} tokens, the model "
            f"{text.vocab_size:,}: it is another model's; save the model's own beside it"
        )
    if config.model_type != "clip":
        return
    # 2 stands for "the largest id", as all of OpenAI's have it
    at = max(theirs.get_vocab().values()) if text.eos_token_id == 2 else text.eos_token_id
    if at != theirs.eos_token_id:
        raise InputError(
            f"'{given}': a text ends with token {theirs.eos_token_id} by its tokenizer, and with "
            f"{at} by its config (eos_token_id {text.eos_token_id} of text_config): one of them is "
            "another model's"
        )


def _check_shape(config: Any, given: str) -> None:
    """Whether images in colour go in, and a feature of the whole comes out."""
    vision = config.vision_config
    if vision.num_channels != 3:
        raise InputError(
            f"'{given}' takes images of {vision.num_channels} channels (num_channels): expected 3, "
            "red, green and blue"
        )
    if config.model_type == "siglip" and not getattr(vision, "vision_use_head", True):
        raise InputError(
            f"'{given}' is a SiglipModel without a pooling head (vision_use_head false), so it has "
            "no feature of a whole image: expected one with it"
        )


def _model(library: Any, config: Any, place: str, given: str) -> Any:
    kind = getattr(library, _KINDS[config.model_type])

    def load() -> Any:
        return kind.from_pretrained(
            place, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True
        )

    model, found = cached_first(load)
    wrong = [*found["missing_keys"], *found["mismatched_keys"]]
    if wrong:
        raise InputError(
            f"cannot load '{given}': the weights are of another architecture (missing or of "
            f"another shape: {first_few(sorted(map(str, wrong)), 2)})"
        )
    return model.eval()


def _clip(model: Any, state: dict[str, Tensor]) -> dict[str, Any]:
    """``CLIPModel`` in this project's towers."""
    text, vision = model.config.text_config, model.config.vision_config
    for part in (text, vision):
        if part.hidden_act not in ACTIVATIONS or part.layer_norm_eps != _EPSILON:
            raise InputError(
                f"a CLIPModel with hidden_act '{part.hidden_act}' and layer_norm_eps "
                f"{part.layer_norm_eps} is of unknown shape: expected {' or '.join(ACTIVATIONS)} "
                f"and {_EPSILON}"
            )
    openai = _openai_layout(state)
    state.clear()
    kinds = (text.hidden_act, vision.hidden_act)
    heads = all(p.hidden_size == HEAD_WIDTH * p.num_attention_heads for p in (text, vision))
    openais = heads and set(kinds) == {"quick_gelu"}
    note = "" if openais else f"CLIP {' '.join(kinds[::-1])} {built_as(model)}"
    return {
        "weights_hash": weights_hash(openai, note=note),
        "logit_scale": float(openai["logit_scale"].exp()),
        "text": text_tower(openai, heads=text.num_attention_heads, activation=kinds[0]),
        "image": image_tower(openai, heads=vision.num_attention_heads, activation=kinds[1]),
    }


def _openai_layout(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of a ``CLIPModel`` under OpenAI's names."""
    result = {new: state[old] for old, new in _OUTSIDE.items()}
    result |= {new: state[old].T.contiguous() for old, new in _TRANSPOSED.items()}
    blocks = re.compile(r"(text|vision)_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
    for key, value in state.items():
        if not (found := blocks.fullmatch(key)):
            continue
        tower, number, layer, part = found.groups()
        prefix = f"{'visual.' if tower == 'vision' else ''}transformer.resblocks.{number}."
        if layer in _BLOCK:
            result[f"{prefix}{_BLOCK[layer]}.{part}"] = value
        elif layer == "self_attn.q_proj":
            rest = (state[key.replace("q_proj", other)] for other in ("k_proj", "v_proj"))
            result[f"{prefix}attn.in_proj_{part}"] = torch.cat([value, *rest])
    return result


def _siglip(model: Any, state: dict[str, Tensor], tokenizer: Any) -> dict[str, Any]:
    """``SiglipModel``, run by transformers."""
    text, vision = model.text_model, model.vision_model
    size = int(model.config.vision_config.image_size)
    return {
        "weights_hash": weights_hash(state, note=f"SiglipModel {built_as(model)}"),
        "logit_scale": float(state["logit_scale"].exp()),
        "text": LibraryText(
            text,
            encode=lambda ids: text(input_ids=ids).pooler_output,
            embedding=text.get_input_embeddings(),
            context_length=int(model.config.text_config.max_position_embeddings),
            pad_id=int(tokenizer.pad_token_id),
            sees_padding=True,
        ),
        "image": LibraryImage(
            vision,
            encode=lambda images: vision(pixel_values=images).pooler_output,
            size=(size, size),
            pool=vision.head,
        ),
    }


def _has_image_processor(folder: Path) -> bool:
    """Whether a folder says how images are prepared: in a file of its own, or, as a processor is
    saved since transformers 5, in the one for texts and images."""
    if (folder / "preprocessor_config.json").is_file():
        return True
    both = folder / "processor_config.json"
    return both.is_file() and "image_processor" in (read_json(both) or ())


def _sides(size: Any) -> dict[str, int]:
    """An image processor's size, without what it leaves open."""
    return {name: int(side) for name, side in dict(size).items() if side}


def _preprocessing(library: Any, config: Any, place: str, given: str) -> Preprocessing:
    """As the folder's image processor has it; the kind's own where there is none."""
    side = int(config.vision_config.image_size)
    clip = config.model_type == "clip"
    if Path(place).is_dir() and not _has_image_processor(Path(place)):
        return Preprocessing(
            size=(side, side),
            view="center" if clip else "whole",
            corner="floor",
            mean=PIXEL_MEAN if clip else (0.5,) * 3,
            std=PIXEL_STD if clip else (0.5,) * 3,
        )
    theirs = _read(library.AutoImageProcessor, place)
    for name, wanted in _PREPARED.items():
        if (found := getattr(theirs, name, wanted) or False) != wanted:
            raise InputError(
                f"'{given}' prepares images with {name} {found}, which is not supported: {wanted}"
            )
    normalised = getattr(theirs, "do_normalize", True)
    size = _sides(theirs.size)
    crops = bool(getattr(theirs, "do_center_crop", False))
    cut = _sides(theirs.crop_size) if crops else size
    whole = set(size) == {"height", "width"}  # and whatever the image's shape
    if not whole and not (crops and set(size) == {"shortest_edge"}):
        raise InputError(
            f"'{given}' resizes images to {size} and {'then cuts' if crops else 'does not cut'} "
            "the middle out, which is not supported: size with height and width, or shortest_edge "
            "with do_center_crop"
        )
    height, width = int(cut["height"]), int(cut["width"])
    if (cut != size) if whole else (size["shortest_edge"] != max(height, width)):
        raise InputError(
            f"'{given}' resizes images to {'×'.join(map(str, size.values()))} pixels and cuts "
            f"{height}×{width} out of them, which is not supported"
        )
    return Preprocessing.from_dict(
        {
            "size": [height, width],
            "view": "whole" if whole else "center",
            "corner": "floor",
            "interpolation": _RESAMPLE.get(int(theirs.resample), f"resample {theirs.resample}"),
            "mean": list(map(float, theirs.image_mean)) if normalised else [0.0] * 3,
            "std": list(map(float, theirs.image_std)) if normalised else [1.0] * 3,
        }
    )
