"""What is said about models of a library that cannot be had, in one line."""

from __future__ import annotations

import json
import os
import sys

import pytest

from tai_dpt.backbones import load_backbone
from tai_dpt.backbones.hub import reading
from tai_dpt.errors import InputError

import library_models

open_clip = pytest.importorskip("open_clip")
transformers = pytest.importorskip("transformers")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def refused(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_backbone(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("library", "name", "extra"),
    [
        ("open_clip", "open_clip:ViT-B-32/openai", "open-clip"),
        ("transformers", "transformers:openai/clip-vit-base-patch32", "transformers"),
    ],
)
def test_an_extra_that_is_not_installed(monkeypatch, library, name, extra):
    monkeypatch.setitem(sys.modules, library, None)
    refused(name, rf"needs {library} .*pip install 'tai-dpt\[{extra}\]'")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("operator torchvision::nms does not exist"), "operator torchvision::nms"),
        (
            ModuleNotFoundError(name="timm"),
            "it needs timm, which is not installed: pip install timm",
        ),
    ],
)
@pytest.mark.parametrize("name", ["hf-hub:some/model", "transformers:some/model"])
def test_a_library_that_another_package_stops(monkeypatch, name, error, message):
    """At its import, or later: much of it is imported where it is used."""
    kind = "transformers" if name.startswith("transformers") else "open_clip"

    def fails(*_: object) -> None:
        raise error

    at = "_load" if isinstance(error, ImportError) else "import_module"
    monkeypatch.setattr(f"tai_dpt.backbones.{kind}_models.{at}", fails)
    refused(name, rf"cannot load '{name}': {message}")


def test_names_that_open_clip_does_not_know(tmp_path):
    refused("open_clip:ViT-B-33/openai", r"unknown architecture.*did you mean 'ViT-B-32'")
    refused("open_clip:ViT-B-32/openia", r"unknown weights of ViT-B-32.*did you mean 'openai'")
    refused("open_clip:ViT-B-32", r"names no weights: write open_clip:ARCHITECTURE/TAG, or")
    refused("open_clip:ViT-B-32@", r"names no weights: write open_clip:ARCHITECTURE/TAG, or")
    refused(f"open_clip:ViT-B-32@{tmp_path}/none.pt", "no such file")
    refused(f"hf-hub:{tmp_path}", r"has no open_clip_config\.json")
    refused("hf-hub:nobody/nothing", r"cannot load 'hf-hub:nobody/nothing'")


def test_what_a_reader_stumbles_over_is_damage():
    said = pytest.raises(InputError, match="cannot load 'x': its files are damaged, or hold")
    with said, reading("x"):
        raise IndexError("pop from empty list")  # pickle's, of a text


def test_a_folder_that_is_asked_for_by_another_librarys_name(tmp_path):
    ours, theirs = tmp_path / "open_clip", tmp_path / "transformers"
    library_models.save_open_clip(ours, "vit_gelu")
    theirs.mkdir()
    library_models.save_transformers(theirs, "clip_gelu")
    refused(f"transformers:{ours}", rf"no model of transformers: ask for hf-hub:{ours}")
    refused(f"hf-hub:{theirs}", rf"no model of open_clip: ask for transformers:{theirs}")
    refused(str(ours), rf"is a folder: ask for hf-hub:{ours}")
    refused(str(theirs), rf"is a folder: ask for transformers:{theirs}")
    # its tensors are those of OpenAI's layout, and it has another activation
    refused(f"{ours}/open_clip_model.safetensors", rf"not say how .*: ask for hf-hub:{ours}")


def test_weights_of_another_architecture(tmp_path):
    folder = library_models.save_open_clip(tmp_path, "vit_gelu")
    weights = folder / "open_clip_model.safetensors"
    refused(f"open_clip:ViT-B-32@{weights}", r"the weights are of another architecture")
    weights.unlink()
    refused(f"hf-hub:{folder}", r"cannot load .*weights .*could not be loaded")


@pytest.mark.parametrize("kind", ["hf-hub", "transformers"])
@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("", "no model is named: write .*ID-OR-FOLDER"),
        ("/nowhere/model", "/nowhere/model: no such folder"),
        ("./nowhere", "nowhere: no such folder"),
        ("~/nowhere-at-all", "/nowhere-at-all: no such folder"),
        (__file__, "test_library_errors.py: a file, not a folder"),
    ],
)
def test_a_folder_that_is_not_there(kind, place, message):
    refused(f"{kind}:{place}", message)


@pytest.mark.parametrize("kind", ["hf-hub", "transformers"])
def test_a_folder_in_which_a_file_is_none(kind, tmp_path):
    os.mkfifo(tmp_path / "open_clip_model.safetensors")
    refused(f"{kind}:{tmp_path}", "open_clip_model.safetensors is a pipe; a file is needed")
    (tmp_path / "open_clip_model.safetensors").unlink()
    (tmp_path / "config.json").mkdir()
    refused(f"{kind}:{tmp_path}", "config.json is a folder; a file is needed")


def test_a_text_tower_of_fewer_positions_than_its_tokenizer_gives_tokens(tmp_path):
    folder = library_models.save_open_clip(
        tmp_path, "multilingual", text_cfg={"context_length": 90}
    )
    refused(f"hf-hub:{folder}", r"cannot load .*out of")


def test_a_way_to_prepare_images_that_is_not_supported(tmp_path):
    folder = library_models.save_open_clip(tmp_path, "vit_gelu")
    config = folder / "open_clip_config.json"
    content = json.loads(config.read_text())
    content["preprocess_cfg"]["resize_mode"] = "longest"
    config.write_text(json.dumps(content))
    refused(f"hf-hub:{folder}", r"prepares images by 'longest'.*shortest or squash")
    config.write_text("{")
    refused(f"hf-hub:{folder}", "cannot load")


def test_folders_that_transformers_cannot_take(tmp_path):
    refused(f"transformers:{tmp_path}", r"has no config\.json, so it is no model of transformers")
    library_models.save_transformers(tmp_path, "clip_gelu")
    (tmp_path / "tokenizer.json").rename(tmp_path / "elsewhere.json")
    refused(f"transformers:{tmp_path}", r"has no tokenizer \(tokenizer\.json.*save it there too")
    (tmp_path / "elsewhere.json").rename(tmp_path / "tokenizer.json")
    config = tmp_path / "config.json"
    content = json.loads(config.read_text())
    for change, message in (
        ({"model_type": "bert"}, "a model of kind 'bert', not one of CLIPModel, SiglipModel"),
        (
            {"vision_config": content["vision_config"] | {"hidden_size": 32}},
            r"another architecture|cannot load",
        ),
        (
            {"text_config": content["text_config"] | {"hidden_act": "relu"}},
            r"hidden_act 'relu'.* unknown shape: expected quick_gelu or gelu",
        ),
    ):
        config.write_text(json.dumps(content | change))
        refused(f"transformers:{tmp_path}", message)


def test_a_size_or_dense_option_that_a_librarys_tower_does_not_take(tmp_path):
    library_models.save_transformers(tmp_path, "siglip")
    backbone = load_backbone(f"transformers:{tmp_path}")
    with pytest.raises(InputError, match=r"64×48 is not what this model takes.*48×48"):
        backbone.check_size(64, 48)
    with pytest.raises(InputError, match=r"one way only"):
        backbone.dense = "qq"


def test_a_checksum_is_of_a_file(tmp_path):
    with pytest.raises(InputError, match="sha256 is of one weight file"):
        load_backbone("open_clip:ViT-B-32/openai", sha256="00")
