"""``tai-dpt backbones``: what can be asked for, what is here, what one can do."""

from __future__ import annotations

import json

import pytest
import torch

from tai_dpt import Tagger
from tai_dpt.trainers.config import default_config
from tai_dpt.trainers.features import backbone_from_config

from clips import tiny_clip
from taggers import run


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with a file of OpenAI's and two models in the hub's cache."""
    monkeypatch.setenv("TAI_DPT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache/clip").mkdir(parents=True)
    (tmp_path / "cache/clip/RN50.pt").write_bytes(b"x" * 3_000_000)
    hub = tmp_path / "hub"
    for name, config, content in (
        ("laion--some-vit", "open_clip_config.json", {"model_cfg": {}}),
        ("google--some-siglip", "config.json", {"model_type": "siglip"}),
        ("google--some-bert", "config.json", {"model_type": "bert"}),
    ):
        snapshot = hub / f"models--{name}/snapshots/0123"
        snapshot.mkdir(parents=True)
        (snapshot / config).write_text(json.dumps(content))
        (snapshot / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
        (snapshot / "model.safetensors").write_bytes(b"x" * 2_000_000)
    monkeypatch.setattr("tai_dpt.backbones.hub.hub_folder", lambda: str(hub))
    monkeypatch.setattr("tai_dpt.backbones.catalogue.hub_folder", lambda: str(hub))
    return tmp_path


def test_the_list_says_what_is_here_and_what_is_not(machine):
    code, printed, _ = run("backbones")
    assert code == 0
    lines = {line.split()[0]: line for line in printed.splitlines() if line.split()}
    assert "3 MB" in lines["RN50"]
    assert str(machine / "cache/clip/RN50.pt") in lines["RN50"]
    assert "afeb0e10f9e5" in lines["RN50"]  # how the published file's SHA-256 begins
    assert "MIT" in lines["RN50"]
    assert "not here" in lines["ViT-L/14@336px"]
    assert "2 MB" in lines["hf-hub:laion/some-vit"]
    assert "apache-2.0" in lines["transformers:google/some-siglip"]
    assert "some-bert" not in printed
    assert "HF_HUB_OFFLINE" in printed


def test_all_about_one(tmp_path):
    weights = tmp_path / "vit.pt"
    torch.save(tiny_clip("vit").state_dict(), weights)
    code, printed, _ = run("backbones", weights, "--dense", "qk")
    assert code == 0
    expected = (
        "48×48, center, bicubic",
        "multiples of 16",
        "qq, qk, value, neighbours",
        "TextEncoder, causal",
        "up to 77 tokens",
        "TaI-DPT learns both prompts",
    )
    assert [said for said in expected if said not in printed] == []


def test_the_one_that_ships_goes_by_its_name(machine):
    assert "\nemoji_scenes: " in run("backbones")[1]
    code, printed, _ = run("backbones", "emoji_scenes")
    assert code == 0
    assert "TaI-DPT learns both prompts" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("RN500",), "did you mean 'RN50'"), (("--dense", "qq"), "needs the NAME")],
)
def test_bad_input(arguments, message):
    code, _, error = run("backbones", *arguments)
    assert code == 2
    assert message in error


def test_the_one_that_ships_has_its_name_everywhere(tmp_path):
    tagger = Tagger.from_captions(
        classes=["dog", "cat"], backbone="emoji_scenes", options=["OPTIM.MAX_EPOCH", 1]
    )
    tagger.save(tmp_path / "tagger", include_backbone=False)
    again = Tagger.load(tmp_path / "tagger", backbone="emoji_scenes")
    cfg = default_config()
    cfg.MODEL.BACKBONE.NAME = "emoji_scenes"
    trained = backbone_from_config(cfg, torch.device("cpu"), "fp32")
    assert again.backbone.weights_hash == trained.weights_hash == tagger.backbone.weights_hash
    assert again.backbone.name == trained.name == tagger.backbone.name == "emoji_scenes"
    card = (tmp_path / "tagger/README.md").read_text()
    assert "| backbone | emoji\\_scenes, " in card and "licence of its weights: MIT" in card
