"""Folders of models that are broken in one place: one line each, and nothing in them is run."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tai_dpt import Tagger
from tai_dpt.backbones import load_backbone
from tai_dpt.errors import InputError

import library_models

pytest.importorskip("open_clip")
pytest.importorskip("transformers")

Break = Callable[[Path], object]
OPEN = "open_clip_config.json"
OPEN_WEIGHTS, OPEN_BIN = "open_clip_model.safetensors", "open_clip_pytorch_model.bin"
CONFIG, WEIGHTS, BIN = "config.json", "model.safetensors", "pytorch_model.bin"
IMAGES = "preprocessor_config.json"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder of each library, by the word that asks for it."""
    home = tmp_path_factory.mktemp("whole")
    library_models.save_open_clip(home / "hf-hub", "vit_gelu")
    for name, kind in (("transformers", "clip_gelu"), ("siglip", "siglip")):
        (home / name).mkdir()
        library_models.save_transformers(home / name, kind)
    return home


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def write(name: str, content: bytes) -> Break:
    return lambda folder: (folder / name).write_bytes(content)


def entry(name: str, path: str, value: Any) -> Break:
    """Another value at ``a.b`` of a JSON file; None takes it out."""

    def change(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        *parents, last = path.split(".")
        node = content
        for parent in parents:
            node = node[parent]
        node.pop(last, None)
        if value is not None:
            node[last] = value
        (folder / name).write_text(json.dumps(content))

    return change


def cut(name: str, length: int) -> Break:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:length])


def weights(name: str, change: Callable[[dict[str, Any]], object]) -> Break:
    def write_again(folder: Path) -> None:
        state = {key: value.clone() for key, value in load_file(folder / name).items()}
        change(state)
        save_file(state, folder / name, metadata={"format": "pt"})

    return write_again


class Trap:
    """Pickled code; that it ran would show by a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("trapped",)


def code_in(name: str, other: str, *, torch_format: bool) -> Break:
    def replace(folder: Path) -> None:
        (folder / name).unlink()
        if torch_format:
            torch.save({"a": Trap()}, folder / other)
        else:
            (folder / other).write_bytes(pickle.dumps({"state_dict": Trap()}))

    return replace


def torch_file(content: object) -> Break:
    """open_clip's weights as ``torch.save`` writes these; None: a file without a byte."""

    def replace(folder: Path) -> None:
        (folder / OPEN_WEIGHTS).unlink()
        (folder / OPEN_BIN).touch()
        if content is not None:
            torch.save(content, folder / OPEN_BIN)

    return replace


def gone(name: str) -> Break:
    return lambda folder: (folder / name).unlink()


ARCHITECTURE = "the weights are of another architecture"
CODE = "its weights are pickled Python objects, which are not loaded for safety"
BROKEN = r"the weights are truncated or no safetensors .*fetch them again"
CASES: list[tuple[str, Break, str]] = [
    ("hf-hub", gone(OPEN), "has no open_clip_config.json"),
    ("hf-hub", write(OPEN, b""), "Could not load valid config"),
    ("hf-hub", write(OPEN, b"[]"), "missing 'model_cfg'"),
    ("hf-hub", write(OPEN, b"null"), "Could not load valid config"),
    ("hf-hub", write(OPEN, b"\xff\xfe"), "Could not load valid config"),
    ("hf-hub", entry(OPEN, "model_cfg", None), "missing 'model_cfg'"),
    ("hf-hub", entry(OPEN, "model_cfg.vision_cfg", None), "its config has, or lacks, 'vision_cfg'"),
    ("hf-hub", entry(OPEN, "model_cfg.embed_dim", "wide"), "cannot load .*str"),
    ("hf-hub", entry(OPEN, "model_cfg.embed_dim", 16), ARCHITECTURE),
    ("hf-hub", entry(OPEN, "model_cfg.vision_cfg.layers", 4), ARCHITECTURE),
    ("hf-hub", entry(OPEN, "model_cfg.vision_cfg.width", 128), ARCHITECTURE),
    ("hf-hub", entry(OPEN, "model_cfg.vision_cfg.patch_size", 0), "a size in its config makes no"),
    ("hf-hub", entry(OPEN, "model_cfg.vision_cfg.image_size", 50), "multiples of 16, such as 48"),
    ("hf-hub", entry(OPEN, "model_cfg.vision_cfg.colour", 1), "unexpected keyword .*'colour'"),
    ("hf-hub", entry(OPEN, "model_cfg.vision_cfg.timm_model_name", "vit_none"), "Unknown model"),
    ("hf-hub", entry(OPEN, "model_cfg.text_cfg.heads", 7), "divisible by num_heads"),
    ("hf-hub", entry(OPEN, "model_cfg.text_cfg.heads", 0), "must be greater than 0"),
    ("hf-hub", entry(OPEN, "model_cfg.text_cfg.vocab_size", 100), ARCHITECTURE),
    (
        "hf-hub",
        lambda folder: [
            entry(OPEN, "model_cfg.text_cfg.vocab_size", 100)(folder),
            weights(
                OPEN_WEIGHTS,
                lambda s: s.update(
                    {"token_embedding.weight": s["token_embedding.weight"][:100].clone()}
                ),
            )(folder),
        ],
        "its tokenizer gives token 49,407, and the model knows 100: one of them is another",
    ),
    ("hf-hub", entry(OPEN, "model_cfg.text_cfg.hf_model_name", "no/one"), "couldn't connect"),
    ("hf-hub", entry(OPEN, "model_cfg.text_cfg.hf_tokenizer_name", "no/one"), "tokenizer"),
    ("hf-hub", entry(OPEN, "preprocess_cfg.mean", [0.5, 0.5]), "mean is .*three numbers"),
    ("hf-hub", entry(OPEN, "preprocess_cfg.mean", "x"), "cannot load .*'x'"),
    ("hf-hub", entry(OPEN, "preprocess_cfg.std", [0, 0, 0]), "std is .*must not be 0"),
    (
        "hf-hub",
        lambda folder: [
            entry(OPEN, "model_cfg.vision_cfg.image_size", [48, 32])(folder),
            entry(OPEN, "preprocess_cfg.resize_mode", "shortest")(folder),
        ],
        "prepares images by 'shortest' at 48×32, which is supported for squares only",
    ),
    ("hf-hub", gone(OPEN_WEIGHTS), "could not be loaded"),
    ("hf-hub", write(OPEN_WEIGHTS, b""), BROKEN),
    ("hf-hub", write(OPEN_WEIGHTS, b"version https://git-lfs.github.com/spec/v1\n"), BROKEN),
    ("hf-hub", cut(OPEN_WEIGHTS, 100), BROKEN),
    ("hf-hub", cut(OPEN_WEIGHTS, 100_000), BROKEN),
    ("hf-hub", weights(OPEN_WEIGHTS, lambda s: s.pop("visual.proj")), ARCHITECTURE),
    ("hf-hub", weights(OPEN_WEIGHTS, lambda s: s.update(more=torch.ones(2))), ARCHITECTURE),
    (
        "hf-hub",
        weights(OPEN_WEIGHTS, lambda s: s.update({"visual.proj": torch.ones(3, 4)})),
        ARCHITECTURE,
    ),
    (
        "hf-hub",
        weights(OPEN_WEIGHTS, lambda s: s["visual.proj"][0].fill_(torch.nan)),
        r"'visual\.proj' holds values that are no finite numbers",
    ),
    (
        "hf-hub",
        weights(OPEN_WEIGHTS, lambda s: s["logit_scale"].fill_(1000)),
        "'logit_scale' holds values that are no finite numbers",
    ),
    ("hf-hub", torch_file({}), "the weights are empty or truncated: fetch them again"),
    ("hf-hub", torch_file(None), "the weights are empty or truncated: fetch them again"),
    ("hf-hub", torch_file([1]), r"hold something else than its library expects \('list' object"),
    ("hf-hub", code_in(OPEN_WEIGHTS, OPEN_BIN, torch_format=False), CODE),
    ("hf-hub", code_in(OPEN_WEIGHTS, OPEN_BIN, torch_format=True), CODE),
    ("transformers", gone(CONFIG), "has no config.json, so it is no model of transformers"),
    ("transformers", write(CONFIG, b""), "not a valid JSON file"),
    ("transformers", entry(CONFIG, "model_type", "bert"), "of kind 'bert', not one of CLIPModel"),
    ("transformers", entry(CONFIG, "model_type", "none"), "model type `none`"),
    (
        "transformers",
        lambda folder: [
            entry(CONFIG, "model_type", "mine")(folder),
            entry(CONFIG, "auto_map", {"AutoConfig": "mine.Config"})(folder),
            write("mine.py", b"import os\nos.mkdir('trapped')\n")(folder),
        ],
        "contains custom code",
    ),
    ("transformers", entry(CONFIG, "text_config.vocab_size", 50), ARCHITECTURE),
    ("transformers", entry(CONFIG, "text_config.eos_token_id", 5), "ends with token 3 .* and .* 5"),
    (
        "transformers",  # 2 has a text read at its largest id, which is not where this one ends
        entry(CONFIG, "text_config.eos_token_id", 2),
        r"ends with token 3 by its tokenizer, and with \d+ by its config \(eos_token_id 2",
    ),
    ("transformers", entry(CONFIG, "vision_config.num_channels", 1), "of 1 channels .*expected 3"),
    ("transformers", entry(CONFIG, "vision_config.num_attention_heads", 7), "not a multiple"),
    ("transformers", entry(CONFIG, "vision_config.hidden_act", "relu"), "of unknown shape"),
    ("transformers", entry(CONFIG, "vision_config.layer_norm_eps", 1e-3), "of unknown shape"),
    ("transformers", entry(CONFIG, "vision_config", None), ARCHITECTURE),
    ("transformers", gone(WEIGHTS), "no file named model.safetensors"),
    ("transformers", cut(WEIGHTS, 3000), BROKEN),
    (
        "transformers",
        weights(WEIGHTS, lambda s: s.update({"visual_projection.weight": torch.ones(3, 4)})),
        ARCHITECTURE,
    ),
    (
        "transformers",
        weights(WEIGHTS, lambda s: [s.pop(key) for key in list(s) if "vision" in key]),
        ARCHITECTURE,
    ),
    (
        "transformers",
        weights(WEIGHTS, lambda s: s["visual_projection.weight"].fill_(torch.inf)),
        "no finite numbers",
    ),
    ("transformers", code_in(WEIGHTS, BIN, torch_format=False), CODE),
    ("transformers", code_in(WEIGHTS, BIN, torch_format=True), CODE),
    ("transformers", gone("tokenizer.json"), "has no tokenizer"),
    ("transformers", write("tokenizer.json", b""), "cannot load"),
    ("transformers", entry("tokenizer_config.json", "pad_token", None), "no pad_token"),
    ("transformers", write(IMAGES, b""), "not a valid JSON file"),
    ("transformers", entry(IMAGES, "resample", 1), "unknown interpolation 'resample 1'"),
    ("transformers", entry(IMAGES, "image_mean", [1]), "mean is .*three numbers"),
    ("transformers", entry(IMAGES, "do_rescale", False), "with do_rescale False, .* not supported"),
    ("transformers", entry(IMAGES, "do_pad", True), "with do_pad True, .* not supported: False"),
    (
        "transformers",
        entry(IMAGES, "do_center_crop", False),
        r"images to \{'shortest_edge': 48\} and does not cut .*: size with height and width, or",
    ),
    ("transformers", entry(IMAGES, "size", {"longest_edge": 48}), "size with height and width, or"),
    (
        "transformers",
        entry(IMAGES, "crop_size", {"height": 32, "width": 32}),
        "resizes images to 48 pixels and cuts 32",
    ),
    ("siglip", entry(IMAGES, "size", {"height": 64, "width": 64}), "64×64 is not what this model"),
    ("siglip", entry(CONFIG, "vision_config.vision_use_head", False), "without a pooling head"),
    (
        "siglip",
        lambda folder: [
            entry(CONFIG, "text_config.projection_size", 32)(folder),
            weights(
                WEIGHTS,
                lambda s: s.update(
                    {
                        key: value[:32].clone()
                        for key, value in s.items()
                        if "text_model.head" in key
                    }
                ),
            )(folder),
        ],
        "features of texts are 32 wide and those of images 64: expected one width",
    ),
    ("siglip", entry(CONFIG, "text_config.vocab_size", 20), ARCHITECTURE),
    (
        "siglip",  # another model's, of more tokens
        lambda folder: [
            entry(CONFIG, "text_config.vocab_size", 20)(folder),
            weights(
                WEIGHTS,
                lambda s: s.update(
                    {
                        key: value[:20].clone()
                        for key, value in s.items()
                        if key.endswith("token_embedding.weight")
                    }
                ),
            )(folder),
        ],
        "its tokenizer knows .* tokens, the model 20",
    ),
]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_one_line(whole, tmp_path, monkeypatch, number):
    base, change, message = CASES[number]
    folder = tmp_path / "model"
    shutil.copytree(whole / base, folder)
    change(folder)
    monkeypatch.chdir(tmp_path)
    name = f"{'transformers' if base == 'siglip' else base}:{folder}"
    with pytest.raises(InputError) as caught:
        backbone = load_backbone(name)
        backbone.check_size(*backbone.preprocessing.size)
    said = str(caught.value)
    assert "\n" not in said and len(said) - said.count(str(folder)) * len(str(folder)) < 420
    assert re.search(message, said), said
    assert not (tmp_path / "trapped").exists()


def test_a_model_whose_images_are_not_normalised_sees_them_so(whole, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(whole / "transformers", folder)
    entry(IMAGES, "do_normalize", False)(folder)
    seen = load_backbone(f"transformers:{folder}").preprocessing
    assert (seen.mean, seen.std) == ((0, 0, 0), (1, 1, 1))


def test_a_tagger_whose_library_is_gone_or_whose_weights_are_others(whole, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    shutil.copytree(whole / "hf-hub", folder)
    backbone = load_backbone(f"hf-hub:{folder}")
    rows = torch.nn.functional.normalize(torch.ones(2, backbone.embed_dim), dim=-1)
    Tagger(
        backbone=backbone,
        class_names=["dog", "car"],
        embeddings={"global": rows, "local": rows},
        contexts={},
    ).save(tmp_path / "tagger")
    card = (tmp_path / "tagger/README.md").read_text()
    assert "| hf-hub:./model, a folder or file of its maker's" in card
    assert str(tmp_path) not in card
    assert 'from_pretrained("user/name", backbone="…")' in card and "[hub,open-clip]" in card
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"no such folder\): say where .*\(--backbone hf-hub:…\)"):
        Tagger.load(tmp_path / "tagger")
    assert Tagger.load(tmp_path / "tagger", backbone=f"hf-hub:{tmp_path / 'elsewhere'}")
    (tmp_path / "elsewhere").rename(folder)
    weights(OPEN_WEIGHTS, lambda s: s["visual.proj"].mul_(2))(folder)
    with pytest.raises(InputError, match="prompts work with their own backbone only"):
        Tagger.load(tmp_path / "tagger")
    monkeypatch.setitem(__import__("sys").modules, "open_clip", None)
    with pytest.raises(InputError, match=r"needs open_clip .*pip install 'tai-dpt\[open-clip\]'"):
        Tagger.load(tmp_path / "tagger")
