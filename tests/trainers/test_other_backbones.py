"""Methods on backbones that are not OpenAI's: what they can, and what is said where they cannot."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from tai_dpt import Tagger
from tai_dpt.backbones import load_backbone
from tai_dpt.cli.train import main
from tai_dpt.errors import InputError
from tai_dpt.prompts.learner import PromptEncoder, class_tokens, special_tokens
from tai_dpt.reports.reopened_run import reopen_run
from tai_dpt.scoring.results import ScoreTable
from tai_dpt.trainers.class_texts import IMAGENET, template_embeddings
from tai_dpt.trainers.run import build_parser, run, setup_cfg

import library_models
import worlds
from clips import assert_close, tiny_clip
from places import ROOT
from taggers import photo
from taggers import run as run_command

pytest.importorskip("open_clip")
pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return worlds.write_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def siglip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("siglip")
    library_models.save_transformers(folder, "siglip")
    return f"transformers:{folder}"


@pytest.fixture(scope="module")
def multilingual(tmp_path_factory):
    folder = tmp_path_factory.mktemp("multilingual")
    return f"hf-hub:{library_models.save_open_clip(folder, 'multilingual')}"


def trained(world, output, trainer, *options):
    argv = worlds.arguments(world, trainer, output, *options)
    return run(setup_cfg(build_parser().parse_args(argv)))


@pytest.mark.parametrize("position", ["end", "middle", "front"])
@pytest.mark.parametrize("csc", [False, True])
@pytest.mark.parametrize("which", ["siglip", "multilingual"])
def test_prompts_through_a_tower_that_is_not_causal(request, which, csc, position):
    """With the embeddings of words as context, a prompt is the text that they spell."""
    backbone = load_backbone(request.getfixturevalue(which))
    text, names = backbone.text, ["dog", "traffic light", "car"]
    first, _ = special_tokens(backbone.tokenize)
    words = backbone.tokenize(["a photo of"])[0][len(first) :][:3]
    context = text.token_table[words].clone()
    classes = class_tokens(names, backbone.tokenize)
    encoder = PromptEncoder(
        text=text, classes=classes, start_id=next(iter(first), None), n_ctx=3, csc=csc,
        position=position, rows_per_chunk=40,
    )  # fmt: skip
    cut = {"end": 3, "middle": 1, "front": 0}[position]
    spelled = [
        [*first, *words[:cut], *tokens.name_ids, *words[cut:], *tokens.tail_ids]
        for tokens in classes
    ]
    contexts = (context.expand(3, 3, -1) if csc else context)[None].clone().requires_grad_()
    embeddings = encoder(contexts)
    assert_close(F.normalize(embeddings[0], dim=-1), backbone.encode_texts(spelled).global_)
    assert_close(encoder(contexts, [2, 0])[0], embeddings[0, [2, 0]])
    probe = torch.randn(embeddings.shape, generator=torch.Generator().manual_seed(0))
    (embeddings * probe).sum().backward()
    step = 1e-2 * torch.randn(contexts.shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        up, down = (((encoder(contexts + s * step)) * probe).sum() for s in (1, -1))
    assert contexts.grad is not None
    assert float((contexts.grad * step).sum() * 2) == pytest.approx(float(up - down), rel=0.02)


@pytest.mark.parametrize("which", ["siglip", "multilingual"])
def test_tai_learns_the_global_prompt_where_words_have_no_features(
    request, world, tmp_path, which, capsys
):
    name = request.getfixturevalue(which)
    options = ("MODEL.BACKBONE.NAME", name, "INPUT.SIZE", "[48, 48]", "TRAINER.TAIDPT.N_CTX", 2)
    trainer = trained(world, tmp_path, "TaIDPT", *options)
    assert trainer.model.names == ("global",)
    printed = capsys.readouterr().out
    assert "has no feature for every word of a caption" in printed
    assert "global (TaI)" in printed
    table = ScoreTable.load(tmp_path / "scores.npz")
    assert np.isfinite(table.merged).all()
    assert not np.array_equal(table.local, table.global_)  # the places of an image do differ


@pytest.fixture(scope="module")
def placeless(tmp_path_factory):
    """An image tower that gives one feature for all of an image."""
    folder = tmp_path_factory.mktemp("average")
    return f"hf-hub:{library_models.save_open_clip(folder, 'vit_average')}"


def test_a_method_that_needs_places_says_so_before_it_works(world, tmp_path, placeless):
    options = ("MODEL.BACKBONE.NAME", placeless, "INPUT.SIZE", "[48, 48]")
    with pytest.raises(InputError, match=r"PIAA needs features of places in an image, and .* none"):
        trained(world, tmp_path, "PIAA", *options)


def test_a_tower_of_one_size_has_heat_maps_of_the_whole_image_squeezed(siglip, tmp_path):
    tagger = Tagger.from_captions(
        classes=["dog", "car"],
        captions=["a dog", "a car", "a dog in a car"] * 20,
        backbone=siglip,
        options=["OPTIM.MAX_EPOCH", 1, "TRAINER.TAIDPT.N_CTX", 2, "FEATURES.CACHE", "memory"],
    )
    image = photo(tmp_path / "x.png")
    squeezed = Image.open(image).resize((48, 48), Image.Resampling.BICUBIC)
    assert tagger.heatmap(image, "dog").shape == (3, 3)
    np.testing.assert_allclose(tagger.heatmap(squeezed), tagger.heatmap(image), atol=1e-6)
    assert tagger.heatmap(image, shifts=2, full_size=True).shape == (
        2,
        *Image.open(image).size[::-1],
    )


def test_a_page_of_a_run_without_places_says_why_it_has_no_heat_maps(world, tmp_path, placeless):
    trained(world, tmp_path, "TaIDPT", "MODEL.BACKBONE.NAME", placeless, "INPUT.SIZE", "[]")
    results = json.loads((tmp_path / "results.json").read_text())
    opened, missing = reopen_run(tmp_path, results, world)
    assert opened.paths and opened.tagger is None
    assert re.fullmatch(r"heat maps \(.* has no features of places in an image\)", missing)


def test_others_say_what_their_local_scores_are(world, tmp_path, placeless, capsys):
    options = ("MODEL.BACKBONE.NAME", placeless, "INPUT.SIZE", "[48, 48]")
    trained(world, tmp_path, "ZSCLIP", *options)
    assert "has no features of places in an image: local scores" in capsys.readouterr().out
    table = ScoreTable.load(tmp_path / "scores.npz")
    np.testing.assert_allclose(table.local, table.global_, atol=1e-4)


def test_a_dense_option_is_chosen_at_test_and_asks_for_no_training(world, tmp_path):
    weights = world / "vit.pt"
    torch.save(tiny_clip("vit").state_dict(), weights)
    options = ("MODEL.BACKBONE.NAME", str(weights), "INPUT.SIZE", "[48, 48]")
    cache = ("FEATURES.CACHE", "disk", "DATASET.ROOT", str(world))
    trained(world, tmp_path / "run", "TaIDPT", *options, *cache)
    tables = {"": ScoreTable.load(tmp_path / "run/scores.npz")}
    for dense in ("qq", "value"):
        output = tmp_path / dense
        argv = worlds.arguments(
            world, "TaIDPT", output, *options, *cache, "MODEL.BACKBONE.DENSE", dense
        )
        cfg = setup_cfg(build_parser().parse_args(argv))
        run(cfg, eval_only=True, model_dir=tmp_path / "run")
        tables[dense] = ScoreTable.load(output / "scores.npz")
    np.testing.assert_allclose(tables["qq"].local, tables[""].local, atol=1e-5)
    np.testing.assert_allclose(tables["value"].global_, tables[""].global_, atol=1e-4)
    assert np.abs(tables["value"].local - tables[""].local).max() > 1e-3


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_a_run_from_before_there_was_a_choice_keeps_the_value_path(world, tmp_path, kind):
    weights = world / f"{kind}.pt"
    torch.save(tiny_clip(kind).state_dict(), weights)
    options = ("MODEL.BACKBONE.NAME", str(weights), "INPUT.SIZE", "[]", "OPTIM.MAX_EPOCH", 1)
    trained(world, tmp_path, "TaIDPT", *options)
    for now, dense in ((True, "qq"), (False, "value")):
        results = json.loads((tmp_path / "results.json").read_text())
        if not now:
            del results["config"]["MODEL"]["BACKBONE"]["DENSE"]
        opened, missing = reopen_run(tmp_path, results, world)
        assert not missing
        assert opened.tagger.backbone.dense == (dense if kind == "vit" else None)


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_a_run_is_evaluated_again_with_the_local_features_it_was_tested_with(
    world, tmp_path, capsys, kind
):
    weights = world / f"{kind}.pt"
    torch.save(tiny_clip(kind).state_dict(), weights)
    options = ("MODEL.BACKBONE.NAME", str(weights), "INPUT.SIZE", "[]", "OPTIM.MAX_EPOCH", 1)
    first = "value" if kind == "vit" else ""
    old = tmp_path / "run"
    trained(world, old, "TaIDPT", *options, "MODEL.BACKBONE.DENSE", first)
    expected = ScoreTable.load(old / "scores.npz")
    content = json.loads((old / "results.json").read_text())
    del content["config"]["MODEL"]["BACKBONE"]["DENSE"]  # as before there was a choice
    (old / "results.json").write_text(json.dumps(content))
    model = old / "prompt_learner/model.pth.tar-1"
    for place, source in ((old, old), (old, old), (tmp_path / "other", old), (old, model)):
        argv = worlds.arguments(world, "TaIDPT", place, *options)
        capsys.readouterr()
        run(setup_cfg(build_parser().parse_args(argv)), eval_only=True, model_dir=source)
        assert (f"local features: value, as in {source} (MODEL" in capsys.readouterr().out) == (
            kind == "vit"
        )
        np.testing.assert_allclose(
            ScoreTable.load(place / "scores.npz").local, expected.local, atol=1e-4
        )
        record = json.loads((place / "results.json").read_text())
        assert record["config"]["MODEL"]["BACKBONE"]["DENSE"] == first
    trained(world, old, "TaIDPT", *options)  # which is finished, and tested again
    np.testing.assert_allclose(ScoreTable.load(old / "scores.npz").local, expected.local, atol=1e-4)
    if kind == "vit":
        with pytest.raises(InputError, match=r"MODEL\.BACKBONE\.DENSE: value there, qq here"):
            trained(world, old, "TaIDPT", *options, "MODEL.BACKBONE.DENSE", "qq")


def test_a_dense_option_is_refused_for_a_resnet(world, tmp_path):
    with pytest.raises(InputError, match=r"one way only.*'qk' \(MODEL\.BACKBONE\.DENSE\)"):
        trained(world, tmp_path, "ZSCLIP", "MODEL.BACKBONE.DENSE", "qk")


def test_a_multilingual_tagger_is_learned_kept_and_used(multilingual, tmp_path):
    """Classes and captions in another language, from fitting to a folder and back."""
    captions = ["ein Hund vor einem Auto", "zwei Autos", "der Hund", "eine Katze"] * 20
    classes = tmp_path / "klassen.yaml"
    classes.write_text(
        "language: de\nclasses:\n- Hund\n- {name: Auto, synonyms: [Autos]}\n- Katze\n"
    )
    tagger = Tagger.from_captions(
        classes=classes,
        captions=captions,
        backbone=multilingual,
        options=["OPTIM.MAX_EPOCH", 2, "TRAINER.TAIDPT.N_CTX", 2, "FEATURES.CACHE", "memory"],
    )
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    tagger.save(tmp_path / "tagger")
    about = json.loads((tmp_path / "tagger/tagger.json").read_text())
    assert about["backbone"]["name"] == multilingual
    again = Tagger.load(tmp_path / "tagger")
    np.testing.assert_allclose(again.scores(image), tagger.scores(image), atol=1e-6)
    np.testing.assert_allclose(
        again.caption_scores(["der Hund"]), tagger.caption_scores(["der Hund"]), atol=1e-6
    )
    assert tagger.heatmap(image, "Hund").ndim == 2  # its image tower is CLIP's
    with pytest.raises(InputError, match="to explain a caption needs a feature of every word"):
        again.words("der Hund")
    about["backbone"]["weights_sha256"] = "0" * 64
    (tmp_path / "tagger/tagger.json").write_text(json.dumps(about))
    with pytest.raises(InputError, match="prompts work with their own backbone only"):
        Tagger.load(tmp_path / "tagger")


@pytest.fixture(scope="module")
def of_kind(tmp_path_factory):
    """A small random model of the kind that a config asks for, by the config's name."""
    made: dict[str, str] = {}

    def make(config):
        folder = tmp_path_factory.mktemp(config)
        if config in ("laion_vit_b16", "siglip_b16"):
            family = "vit_gelu" if config == "laion_vit_b16" else "timm_siglip"
            return f"hf-hub:{library_models.save_open_clip(folder, family)}"
        weights = folder / "weights.pt"
        torch.save(tiny_clip("resnet" if config.startswith("rn") else "vit").state_dict(), weights)
        return str(weights)

    return lambda config: made.get(config) or made.setdefault(config, make(config))


@pytest.mark.parametrize("trainer", ["TaIDPT", "ZSCLIP"])
@pytest.mark.parametrize(
    "config", ["rn50", "rn101", "vit_b16", "vit_l14_336", "laion_vit_b16", "siglip_b16"]
)
def test_every_config_of_a_backbone_trains_and_tests(world, tmp_path, of_kind, config, trainer):
    """The file that ships, through the real entry, with a small model of its kind."""
    flags = ("--config-file", ROOT / "configs/trainers" / trainer / f"{config}.yaml")
    options = {
        "MODEL.BACKBONE.NAME": of_kind(config),
        "INPUT.SIZE": [],
        "OPTIM.MAX_EPOCH": 1,
        "DATASET.CORPUS.TEMPLATES": False,
        "DATALOADER.NUM_WORKERS": 0,
        "FEATURES.CACHE": "memory",
    }
    words = ["--root", world, "--dataset-config-file", world / "tiny.yaml", "--seed", 1]
    words += ["--trainer", trainer, "--output-dir", tmp_path, *flags]
    words += [part for pair in options.items() for part in pair]
    assert main(list(map(str, words))) == 0
    table = ScoreTable.load(tmp_path / "scores.npz")
    assert np.isfinite(table.merged).all() and table.merged.std() > 0
    record = json.loads((tmp_path / "results.json").read_text())
    assert record["checkpoint"] == (
        "prompt_learner/model.pth.tar-1" if trainer == "TaIDPT" else None
    )
    side = {"rn50": 64, "rn101": 64, "siglip_b16": 224}.get(config, 48)
    assert record["preprocessing"]["size"] == [side, side]


@pytest.mark.parametrize("template", ["a photo of a {}" + " and a wall" * 20, IMAGENET])
def test_a_template_that_the_tower_does_not_read_whole_is_one_line(siglip, template):
    names = ["dog" if template != IMAGENET else "dog " * 30]
    with pytest.raises(InputError, match=r"longer than the 24 tokens .* reads: shorten it$"):
        template_embeddings(load_backbone(siglip), names, template)


def test_a_class_that_is_too_long_for_its_prompt_is_one_line(siglip):
    backbone = load_backbone(siglip)
    for name, room in (("dog", 0), ("dog " * 40, 20)):
        classes = class_tokens([name], backbone.tokenize)
        with pytest.raises(InputError, match=rf"^class name 'dog.* room for {room}: .*N_CTX"):
            PromptEncoder(text=backbone.text, classes=classes, start_id=None, n_ctx=23 - room)


def test_a_german_tagger_is_fitted_calibrated_and_put_to_use_by_commands(multilingual, tmp_path):
    classes, captions = tmp_path / "klassen.yaml", tmp_path / "texte.txt"
    classes.write_text(
        "language: de\nclasses:\n- Hund\n- {name: Auto, synonyms: [Autos]}\n- Straße\n"
    )
    lines = ["ein Hund vor einem Auto", "zwei Autos", "der Hund", "eine Straße, zwei Autos"]
    captions.write_text("\n".join(lines * 20))
    photos = [photo(tmp_path / f"{i}.png") for i in range(4)]
    table = "image,labels\n" + "".join(
        f"{i}.png,{('Hund', 'Auto', 'Straße')[i % 3]}\n" for i in range(4)
    )
    (tmp_path / "labels.csv").write_text(table)
    tagger = tmp_path / "tagger"
    fit = ("fit", "--classes", classes, "--captions", captions, "--backbone", multilingual)
    options = ("OPTIM.MAX_EPOCH", 1, "TRAINER.TAIDPT.N_CTX", 2, "FEATURES.CACHE", "memory")
    code, _, said = run_command(*fit, "--out", tagger, *options)
    assert code == 0, said
    for how in (["--captions", captions], ["--labelled", tmp_path / "labels.csv"]):
        code, _, said = run_command("calibrate", tagger, *how)
        assert code == 0, said
    code, written, said = run_command("tag", tagger, *photos, "--top", 2, "--json")
    assert code == 0, said
    tagged = json.loads(written)
    assert len(tagged) == 4
    named = {label["class"] for line in tagged for label in line["labels"]}
    assert named <= {"Hund", "Auto", "Straße"} and named
