"""Models of open_clip and transformers: what they answer here is what they answer there."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from tai_dpt.backbones import Backbone, Preprocessing, load_backbone
from tai_dpt.backbones.text import TextEncoder
from tai_dpt.backbones.vit import DenseViT
from tai_dpt.errors import InputError

import library_models
from clips import assert_close

open_clip = pytest.importorskip("open_clip")
transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

TEXTS = ["a dog", "Two CATS, and a naïve car!", "", "so very " * 60 + "long", "ein großer Hund"]
CONVERTED = ("vit_gelu", "vit_quick_gelu", "vit_layer_scale", "resnet")
FAMILIES = [*library_models.OPEN_CLIP]
KINDS = ["clip_gelu", "clip_quick_gelu", "siglip"]


@pytest.fixture(scope="module", params=FAMILIES)
def of_open_clip(request, tmp_path_factory):
    """The family, open_clip's own model and tokenizer, and the backbone from the same folder."""
    folder = library_models.save_open_clip(tmp_path_factory.mktemp(request.param), request.param)
    name = f"local-dir:{folder}"
    model = open_clip.create_model(name).eval()
    return request.param, model, open_clip.get_tokenizer(name), load_backbone(f"hf-hub:{folder}")


@pytest.fixture(scope="module", params=KINDS)
def of_transformers(request, tmp_path_factory):
    """The kind, the folder, transformers' own model, and the backbone from the folder."""
    folder = tmp_path_factory.mktemp(request.param)
    model = library_models.save_transformers(folder, request.param)
    return request.param, folder, model, load_backbone(f"transformers:{folder}")


def pixels(backbone: Backbone) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, *backbone.preprocessing.size, generator=generator)


def padded(backbone: Backbone, like: Tensor, fill: int) -> Tensor:
    rows = [ids + [fill] * (like.shape[1] - len(ids)) for ids in backbone.tokenize(TEXTS)]
    return torch.tensor(rows)


@torch.no_grad()
def test_global_features_are_open_clips(of_open_clip):
    _, model, tokenizer, backbone = of_open_clip
    batch = pixels(backbone)
    features = backbone.encode_images(batch, position_embedding=True)
    assert_close(features.global_, F.normalize(model.encode_image(batch), dim=-1))
    texts = backbone.encode_texts(backbone.tokenize(TEXTS))
    assert_close(texts.global_, F.normalize(model.encode_text(tokenizer(TEXTS)), dim=-1))
    assert backbone.logit_scale == pytest.approx(float(model.logit_scale.exp()))


@pytest.mark.parametrize("zipped", [True, False])
def test_weights_of_torch_save_are_those_of_safetensors(tmp_path, zipped):
    """They are mapped, and so is what is changed in them; nothing of torch stays changed."""
    folder = library_models.save_open_clip(tmp_path, "vit_layer_scale")
    expected = load_backbone(f"hf-hub:{folder}")
    (file,) = folder.glob("*.safetensors")
    path = folder / "open_clip_pytorch_model.bin"
    torch.save(load_file(file), path, _use_new_zipfile_serialization=zipped)
    file.rename(tmp_path / "aside")
    content, usual = path.read_bytes(), (torch.load, torch.nn.init.normal_)
    found = load_backbone(f"hf-hub:{folder}")
    assert found.weights_hash == expected.weights_hash
    batch = pixels(found)
    features, wanted = (b.encode_images(batch, position_embedding=True) for b in (found, expected))
    assert torch.equal(features.global_, wanted.global_)
    assert path.read_bytes() == content
    assert (torch.load, torch.nn.init.normal_) == usual


def test_token_ids_are_open_clips(of_open_clip):
    _, _, tokenizer, backbone = of_open_clip
    texts = [*TEXTS, *library_models.captions()]
    pad = getattr(backbone.text, "pad_id", 0)
    for ours, theirs in zip(backbone.tokenize(texts), tokenizer(texts).tolist(), strict=True):
        assert ours + [pad] * (len(theirs) - len(ours)) == theirs


def test_towers_of_clips_shape_are_converted_and_others_say_what_they_cannot(of_open_clip):
    family, _, _, backbone = of_open_clip
    if family in CONVERTED:
        assert isinstance(backbone.text, TextEncoder)
        assert backbone.image.any_size
    if family in ("multilingual", "bidirectional"):
        assert not backbone.text.every_token
        features = backbone.encode_texts(backbone.tokenize(TEXTS))
        assert features.local.shape[1] == 1
        assert torch.equal(features.local[:, 0], features.global_)
        assert isinstance(backbone.image, DenseViT)
    if family in ("timm", "vit_average"):
        assert not backbone.image.has_places
        assert isinstance(backbone.text, TextEncoder)


RECTANGLES = {"image_size": [48, 24], "patch_size": [16, 8]}
# SentencePiece's end is no model's largest id, where "argmax" reads a text
PLAIN = {"proj_bias": False, "norm_kwargs": {}, "act_kwargs": {}}
LARGEST = PLAIN | {"no_causal_mask": False, "pool_type": "argmax"}
CLIPS = {"tokenizer_mode": "clips", "pool_type": "last"}  # has a token behind the padding
MARKS = ("tokenizer_config.json", {"bos_token": "</s>", "cls_token": "<unk>"})
UNMASKED = ("text/config.json", {"pad_token_id": 2})  # the tokenizer's is another, so it is seen


@pytest.mark.parametrize(
    ("family", "changed", "edit"),
    [
        ("vit_gelu", {"vision_cfg": RECTANGLES}, None),
        ("bidirectional", {"text_cfg": LARGEST}, None),
        ("bidirectional", {"text_cfg": CLIPS}, MARKS),
        ("multilingual", {}, UNMASKED),
    ],
)
@torch.no_grad()
def test_what_is_nearly_of_a_known_shape_is_run_as_open_clip_does(tmp_path, family, changed, edit):
    folder = library_models.save_open_clip(tmp_path, family, **changed)
    if edit:
        file, entries = folder / edit[0], edit[1]
        file.write_text(json.dumps(json.loads(file.read_text()) | entries))
    model = open_clip.create_model(f"local-dir:{folder}").eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    backbone = load_backbone(f"hf-hub:{folder}")
    batch = pixels(backbone)
    images = backbone.encode_images(batch, position_embedding=True)
    assert_close(images.global_, F.normalize(model.encode_image(batch), dim=-1))
    expected = F.normalize(model.encode_text(tokenizer(TEXTS)), dim=-1)
    for text, row in zip(TEXTS, expected, strict=True):
        assert_close(backbone.encode_texts(backbone.tokenize([text])).global_, row[None])
    assert backbone.tokenizer.encoded_part("a dog on a red train") == "a dog on a red train"


@torch.no_grad()
def test_global_features_are_transformers(of_transformers):
    kind, folder, model, backbone = of_transformers
    batch = pixels(backbone)
    expected = model.get_image_features(pixel_values=batch).pooler_output
    features = backbone.encode_images(batch, position_embedding=True)
    assert_close(features.global_, F.normalize(expected, dim=-1))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    length = backbone.text.context_length
    inputs = tokenizer(
        TEXTS, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
    )
    given = {"input_ids": inputs.input_ids}  # SigLIP sees its padding; CLIP's is behind EOS
    expected = model.get_text_features(**given).pooler_output
    texts = backbone.encode_texts(backbone.tokenize(TEXTS))
    assert_close(texts.global_, F.normalize(expected, dim=-1))
    assert texts.local.shape[1] == (1 if kind == "siglip" else length)
    for ours, theirs in zip(backbone.tokenize(TEXTS), inputs.input_ids.tolist(), strict=True):
        assert ours + [tokenizer.pad_token_id] * (length - len(ours)) == theirs


@torch.no_grad()
def test_siglips_places_are_the_value_path_of_its_pool(tmp_path):
    """Each place alone goes through the pool as if it were the only one."""
    model = library_models.save_transformers(tmp_path, "siglip")
    backbone = load_backbone(f"transformers:{tmp_path}")
    batch = pixels(backbone)
    tokens = model.vision_model(pixel_values=batch).last_hidden_state
    alone = torch.stack([model.vision_model.head(tokens[:, i : i + 1]) for i in range(9)], dim=1)
    features = backbone.encode_images(batch, position_embedding=False)
    assert_close(features.local, F.normalize(alone, dim=-1))
    assert (backbone.cell, backbone.image.grid) == (16, 3)


@pytest.mark.parametrize(
    ("kind", "part", "changed"),
    [
        ("clip_gelu", "vision_config", {"num_attention_heads": 2}),
        ("clip_quick_gelu", "text_config", {"num_attention_heads": 2}),
        ("siglip", "text_config", {"num_attention_heads": 2}),
        ("siglip", "vision_config", {"hidden_act": "gelu"}),
        ("siglip", "vision_config", {"layer_norm_eps": 1e-3}),
        ("vit_gelu", "vision_cfg", {"head_width": 8}),
        ("vit_quick_gelu", "text_cfg", {"heads": 4}),
        ("bidirectional", "text_cfg", {"no_causal_mask": False}),
    ],
)
@torch.no_grad()
def test_a_model_built_otherwise_of_the_same_weights_is_another(tmp_path, kind, part, changed):
    """So that no tagger, and no store, is taken for one of its own."""
    if part.endswith("_cfg"):
        library_models.save_open_clip(tmp_path, kind)
        name, file = f"hf-hub:{tmp_path}", tmp_path / "open_clip_config.json"
    else:
        library_models.save_transformers(tmp_path, kind)
        name, file = f"transformers:{tmp_path}", tmp_path / "config.json"
    before = load_backbone(name)
    assert load_backbone(name).weights_hash == before.weights_hash
    config = json.loads(file.read_text())
    config.get("model_cfg", config)[part].update(changed)
    file.write_text(json.dumps(config))
    after = load_backbone(name)
    assert after.weights_hash != before.weights_hash
    batch, ids = pixels(before), before.tokenize(TEXTS)
    images = [b.encode_images(batch, position_embedding=True).global_ for b in (before, after)]
    texts = [b.encode_texts(ids).global_ for b in (before, after)]
    assert not (torch.equal(*images) and torch.equal(*texts))  # a change that counts


def test_a_text_of_unknown_words_keeps_its_end_where_that_pads_too(tmp_path):
    """As of CLIP's tokenizer in transformers; one of another language knows neither word."""
    library_models.save_transformers(tmp_path, "clip_gelu")
    words = {"<pad>": 0, "<unk>": 1, "<start>": 2, "<end>": 3, "hund": 4}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 2), ("<end>", 3)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<end>", eos_token="<end>", unk_token="<unk>"
    ).save_pretrained(tmp_path)
    backbone = load_backbone(f"transformers:{tmp_path}")
    assert backbone.tokenize(["hund", "a dog"]) == [[2, 4, 3], [2, 1, 1, 3]]


def test_what_is_written_like_a_special_token_is_plain_text(of_transformers):
    kind, folder, _, backbone = of_transformers
    end = transformers.AutoTokenizer.from_pretrained(folder).eos_token
    (ids,), (plain,) = backbone.tokenize([f"a dog {end} in a car"]), backbone.tokenize(["a dog"])
    assert ids[-1] == plain[-1]
    if kind != "siglip":  # whose text ends where its context does
        assert ids.count(ids[-1]) == 1


@pytest.mark.parametrize(("kind", "before"), [("VisionTransformer", 0), ("Eva", 1)])
@torch.no_grad()
def test_timms_pool_has_the_same_value_path(kind, before):
    """SigLIP's, and PE-Core's, which is shown a class token too: that is no place."""
    from timm.models import eva, vision_transformer

    from tai_dpt.backbones.open_clip_models import _image

    trunk = getattr(eva if before else vision_transformer, kind)(
        img_size=48, patch_size=16, embed_dim=32, depth=2, num_heads=2, class_token=bool(before),
        global_pool="map", num_classes=0,
    ).eval()  # fmt: skip
    library_models.randomise(trunk)
    visual = torch.nn.Sequential()
    visual.trunk, visual.head = trunk, torch.nn.Identity()
    tower = _image(SimpleNamespace(visual=visual), {}, Preprocessing((48, 48)))
    batch = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(2))
    tokens = trunk.forward_features(batch)[:, before:]
    alone = torch.stack([trunk.forward_head(tokens[:, i : i + 1]) for i in range(9)], dim=1)
    global_, local = tower(batch, position_embedding=False)
    assert_close(local, alone)
    assert_close(global_, trunk(batch))


@torch.no_grad()
def check_half_precision(full: Backbone) -> None:
    batch, tokens = pixels(full), full.tokenize(TEXTS)
    for dtype, tolerance in ((torch.bfloat16, 0.05), (torch.float16, 0.005)):
        half = load_backbone(full.name, dtype=dtype)
        assert half.text.dtype == dtype and half.weights_hash == full.weights_hash
        for one, other in (
            [b.encode_images(batch, position_embedding=True) for b in (full, half)],
            [b.encode_texts(tokens) for b in (full, half)],
        ):
            for name in ("global_", "local"):
                assert getattr(other, name).dtype == torch.float32
                assert_close(getattr(other, name), getattr(one, name), tolerance)


@torch.no_grad()
def check_other_sizes(backbone: Backbone) -> None:
    """Converted towers take any; others say which one they take."""
    for size in ((336, 336), (448, 448), (96, 64)):
        if not backbone.image.any_size:
            with pytest.raises(InputError, match=r"by its own library, at \d+×\d+ \(INPUT.SIZE\)"):
                backbone.check_size(*size)
            continue
        cells = (size[0] // backbone.cell) * (size[1] // backbone.cell)
        batch = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
        features = backbone.encode_images(batch, position_embedding=True)
        assert features.local.shape == (1, cells, backbone.embed_dim)
        assert_close(features.local[0].norm(dim=-1), torch.ones(cells))


def test_half_precision_and_sizes_of_open_clips(of_open_clip):
    check_half_precision(of_open_clip[3])
    check_other_sizes(of_open_clip[3])


def test_half_precision_and_sizes_of_transformers(of_transformers):
    check_half_precision(of_transformers[3])
    check_other_sizes(of_transformers[3])
