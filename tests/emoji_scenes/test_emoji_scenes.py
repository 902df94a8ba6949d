"""The small world: sprites, scenes, grammar, data files, and the tiny CLIP's training script."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from tai_dpt.backbones.weights import read_state_dict
from tai_dpt.emoji_scenes.architecture import encode_text, new_resnet_clip, token_ids
from tai_dpt.emoji_scenes.build import Counts, build, encode_image
from tai_dpt.emoji_scenes.classes import CLASSES, NAMES, plural
from tai_dpt.emoji_scenes.cli import emoji_scenes
from tai_dpt.emoji_scenes.clip_data import used_tokens
from tai_dpt.emoji_scenes.grammar import caption
from tai_dpt.emoji_scenes.scenes import FIRST_INDEX, SIZE, make_scene, render
from tai_dpt.emoji_scenes.sprites import VENDORS, load_sprites
from tai_dpt.emoji_scenes.train_clip import Recipe, Sizes, train
from tai_dpt.errors import InputError
from tai_dpt.io.shipped import shipped_data
from tai_dpt.labels import NounFilter
from tai_dpt.labels.class_lists import imagenet_templates, load_vocabulary

HOME = shipped_data() / "emoji_scenes"
SPRITES = HOME / "sprites"
SETS = ("train", "val", "test")
TINY = Counts(captions=12, train=3, val=2, test=4)


def annotations(name: str, home: Path = HOME) -> dict:
    return json.loads((home / "annotations" / name).read_text())


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("world")
    build(out=out, sprites=SPRITES, counts=TINY)
    return out


# --- classes and sprites ------------------------------------------------------------------------


def test_64_classes_whose_words_name_one_class_each() -> None:
    assert len(set(NAMES)) == len({c.category_id for c in CLASSES}) == 64
    owners: dict[str, set[str]] = {}
    for scene_class in CLASSES:
        for word in scene_class.words:
            for form in (word, plural(word, scene_class)):
                owners.setdefault(form, set()).add(scene_class.name)
    assert [form for form, names in owners.items() if len(names) > 1] == []


@pytest.mark.parametrize(
    ("name", "word", "expected"),
    [
        ("person", "woman", "women"),
        ("knife", "kitchen knife", "kitchen knives"),
        ("wine glass", "glass of wine", "glasses of wine"),
        ("bus", "bus", "buses"),
        ("toothbrush", "toothbrush", "toothbrushes"),
        ("mouse", "computer mouse", "computer mice"),
        ("dog", "puppy", "puppies"),
        ("toilet", "toilet", "toilets"),
        ("donut", "donut", "donuts"),
    ],
)
def test_plurals(name: str, word: str, expected: str) -> None:
    assert plural(word, CLASSES[NAMES.index(name)]) == expected


def test_every_variant_has_trimmed_sprites() -> None:
    sprites = load_sprites(SPRITES)
    assert {label for label, _ in sprites} == set(range(64))
    for drawings in sprites.values():
        assert len(drawings) >= 2  # of three vendors
        for pixels in drawings:
            assert pixels.dtype == np.uint8
            assert pixels.shape[2] == 4
            assert 32 <= max(pixels.shape[:2]) <= 64
    attribution = (HOME / "ATTRIBUTION.md").read_text()
    assert all(v.package in attribution and v.licence in attribution for v in VENDORS.values())


def test_missing_sprite_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no sprite person\.png; run `tai-dpt emoji-scenes"):
        load_sprites(tmp_path)


def test_sprites_command_says_that_npm_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="npm was not found: install Node"):
        CliRunner().invoke(
            emoji_scenes, ["sprites", "--out", str(tmp_path / "o")], catch_exceptions=False
        )
    assert not (tmp_path / "o").exists()


# --- scenes -------------------------------------------------------------------------------------


def test_scenes_are_functions_of_seed_and_index() -> None:
    assert make_scene(0, 5) == make_scene(0, 5)
    assert make_scene(0, 5) != make_scene(0, 6)
    assert make_scene(0, 5) != make_scene(1, 5)
    sprites = load_sprites(SPRITES)
    first, second = (render(make_scene(3, 8), sprites) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    assert first[1] == second[1]


def test_scenes_hold_one_to_four_classes_once_or_twice() -> None:
    sizes = set()
    for index in range(200):
        scene = make_scene(0, index)
        counts = Counter(placed.label for placed in scene.objects)
        sizes.add(len(counts))
        assert set(counts.values()) <= {1, 2}
    assert sizes == {1, 2, 3, 4}


def test_boxes_hold_what_is_visible() -> None:
    sprites = load_sprites(SPRITES)
    for index in range(30):
        scene = make_scene(1, index)
        pixels, seen = render(scene, sprites)
        assert pixels.shape == (SIZE, SIZE, 3)
        assert {shown.label for shown in seen} == set(scene.labels)
        for shown in seen:
            x, y, width, height = shown.box
            assert 0 <= x < x + width <= SIZE
            assert 0 <= y < y + height <= SIZE
            assert 0 < shown.area <= width * height


# --- grammar ------------------------------------------------------------------------------------


def longest_match(text: str, forms: dict[str, int], pattern: re.Pattern[str]) -> tuple[int, ...]:
    return tuple(sorted({forms[found.lower()] for found in pattern.findall(text)}))


def test_mentioned_classes_can_be_read_off_the_captions() -> None:
    listed = yaml.safe_load((HOME / "classes.yaml").read_text())
    assert [entry["name"] for entry in listed] == list(NAMES)
    assert all(entry["synonyms"][0] == entry["name"] for entry in listed)
    forms = {}
    for label, entry in enumerate(listed):
        for word in entry["synonyms"]:
            forms[word] = forms[plural(word, CLASSES[label])] = label
    alternatives = "|".join(map(re.escape, sorted(forms, key=len, reverse=True)))
    pattern = re.compile(rf"\b(?:{alternatives})\b", re.IGNORECASE)
    written = [caption(make_scene(0, FIRST_INDEX["captions"] + i)) for i in range(600)]
    right = sum(longest_match(text, forms, pattern) == labels for text, labels in written)
    assert right >= 0.99 * len(written)


def test_the_filter_reads_the_labels_that_the_recorded_figures_were_learned_from() -> None:
    """Of others the figures in README, REPRODUCE and ``recorded_tables.yaml`` are to be measured
    anew: two captions in 6,000 made 0.4 mAP."""
    content = json.loads((HOME / "annotations/captions_train.json").read_text())
    captions = [annotation["caption"] for annotation in content["annotations"]]
    labels = NounFilter(vocabulary=load_vocabulary(HOME / "classes.yaml")).labels(captions)
    said = hashlib.sha256(json.dumps(labels).encode()).hexdigest()
    assert (len(labels), sum(map(len, labels)), said[:16]) == (6_000, 12_911, "79f1968d85dc8160")


def test_captions_vary_and_leave_things_unsaid() -> None:
    scene = make_scene(0, FIRST_INDEX["captions"])
    assert len({caption(scene, number)[0] for number in range(40)}) > 30
    written = [(s, *caption(s)) for s in (make_scene(0, i) for i in range(300))]
    texts = [text for _, text, _ in written]
    assert any(set(labels) < set(scene.labels) for scene, _, labels in written)
    for part in ("a photo of ", "there ", ", ", " and ", "two ", " to the left of ", " pair of "):
        assert any(part in text.lower() for text in texts), part
    assert 0.3 < np.mean([text.endswith(".") for text in texts]) < 0.7
    assert 0.3 < np.mean([text[0].isupper() for text in texts]) < 0.7


# --- data files ---------------------------------------------------------------------------------


def test_building_twice_gives_the_same_bytes(small: Path, tmp_path: Path) -> None:
    build(out=tmp_path, sprites=SPRITES, counts=TINY)
    files = sorted(p.relative_to(small) for p in small.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file())
    assert len(files) == 1 + 5 + TINY.train + TINY.val + TINY.test
    for file in files:
        assert (small / file).read_bytes() == (tmp_path / file).read_bytes(), file


def test_the_shipped_files_are_what_the_generator_writes(small: Path) -> None:
    assert (small / "classes.yaml").read_text() == (HOME / "classes.yaml").read_text()
    for name in ("captions_train", "captions_test", *(f"instances_{part}" for part in SETS)):
        made, shipped = annotations(f"{name}.json", small), annotations(f"{name}.json")
        images, noted = len(made["images"]), len(made["annotations"])
        assert made["images"] == shipped["images"][:images]
        assert made["annotations"] == shipped["annotations"][:noted]
        assert made.get("categories") == shipped.get("categories")
    for path in (small / "images").rglob("*.webp"):
        twin = HOME / path.relative_to(small)
        if path.read_bytes() != twin.read_bytes():  # another version of the encoder
            here, there = (np.asarray(Image.open(p), dtype=float) for p in (path, twin))
            assert np.abs(here - there).mean() < 2


def test_another_seed_makes_another_world(small: Path, tmp_path: Path) -> None:
    build(out=tmp_path, sprites=SPRITES, seed=1, counts=TINY)
    name = "captions_train.json"
    assert annotations(name, tmp_path)["annotations"] != annotations(name, small)["annotations"]


def test_build_command(tmp_path: Path) -> None:
    out = tmp_path / "o"
    result = CliRunner().invoke(
        emoji_scenes, ["build", "--out", str(out), "--scale", "0.002"], catch_exceptions=False
    )
    assert result.exit_code == 0
    assert "12 captions, 2 + 1 + 1 scenes" in result.output
    assert len(annotations("captions_train.json", out)["annotations"]) == 12
    assert not list(out.rglob("*.tmp"))
    again = CliRunner().invoke(emoji_scenes, ["build", "--out", str(out), "--scale", "0.002"])
    assert "classes.yaml exists" in str(again.exception)


@pytest.mark.parametrize("part", SETS)
def test_instances_are_in_cocos_format(part: str) -> None:
    content = annotations(f"instances_{part}.json")
    images = {image["id"]: image for image in content["images"]}
    categories = {category["id"]: category["name"] for category in content["categories"]}
    assert tuple(categories.values()) == NAMES
    assert len({a["id"] for a in content["annotations"]}) == len(content["annotations"])
    assert {a["image_id"] for a in content["annotations"]} == set(images)
    for annotation in content["annotations"]:
        assert annotation["category_id"] in categories
        assert annotation["iscrowd"] == 0
        x, y, width, height = annotation["bbox"]
        image = images[annotation["image_id"]]
        assert 0 <= x < x + width <= image["width"]
        assert 0 <= y < y + height <= image["height"]
        assert 0 < annotation["area"] <= width * height
    on_disk = {path.name for path in (HOME / "images" / part).iterdir()}
    assert on_disk == {image["file_name"] for image in images.values()}


def test_the_shipped_world_is_large_enough_and_small_enough() -> None:
    spoken, tests = annotations("captions_train.json"), annotations("captions_test.json")
    sets = {part: annotations(f"instances_{part}.json") for part in SETS}
    assert len(spoken["annotations"]) >= 5000
    assert len(sets["test"]["images"]) >= 300
    assert {a["image_id"] for a in tests["annotations"]} == {
        image["id"] for image in sets["test"]["images"]
    }
    ids = [image["id"] for content in (spoken, *sets.values()) for image in content["images"]]
    assert len(ids) == len(set(ids))  # no scene is in two parts
    assert max(ids) < FIRST_INDEX["clip"]
    seen = Counter(
        category
        for _, category in {(a["image_id"], a["category_id"]) for a in sets["test"]["annotations"]}
    )
    assert len(seen) == 64
    assert min(seen.values()) >= 5
    assert sum(p.stat().st_size for p in HOME.rglob("*") if p.is_file()) < 12e6


def test_encoded_pictures_stay_close_to_the_drawing(tmp_path: Path) -> None:
    pixels, _ = render(make_scene(0, 1), load_sprites(SPRITES))
    path = tmp_path / "x.webp"
    path.write_bytes(encode_image(pixels))
    assert np.abs(np.asarray(Image.open(path), dtype=float) - pixels).mean() < 6


# --- the tiny CLIP ------------------------------------------------------------------------------

SIZES = Sizes(embed_dim=32, vision_width=16, text_width=64, text_heads=1, text_layers=1)
RECIPE = Recipe(steps=3, batch=4, scenes=8, warmup=1, sizes=SIZES)


def run(work: Path, out: Path, recipe: Recipe = RECIPE, **changes: int) -> float:
    return train(
        recipe=recipe,
        sprites=SPRITES,
        work=work,
        out=out,
        templates=imagenet_templates(),
        workers=1,
        **changes,
    )


def test_training_resumes_where_it_was_killed(tmp_path: Path) -> None:
    whole = run(tmp_path / "a", tmp_path / "a.safetensors")
    run(tmp_path / "b", tmp_path / "b.safetensors", stop_after=2)
    resumed = run(tmp_path / "b", tmp_path / "b.safetensors")
    assert resumed == pytest.approx(whole, rel=1e-5)
    one, two = load_file(tmp_path / "a.safetensors"), load_file(tmp_path / "b.safetensors")
    assert one.keys() == two.keys()
    for key in one:
        torch.testing.assert_close(one[key], two[key], msg=key)
    with pytest.raises(InputError, match="belongs to another recipe; delete it or use another"):
        run(tmp_path / "b", tmp_path / "c", Recipe(steps=4, batch=4, scenes=8, sizes=SIZES))


def test_exported_weights_are_openais_state_dict(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    run(tmp_path / "work", path, stop_after=1)
    with safe_open(path, "pt") as file:
        assert file.metadata()["step"] == "1"
        assert "ModifiedResNet" in file.metadata()["architecture"]
    tensors = load_file(path)
    rows = used_tokens(imagenet_templates())
    assert tensors["token_ids"].tolist() == rows
    assert tensors["token_rows"].shape == (len(rows), 64)
    assert tensors["token_rows"].dtype == torch.float16
    assert int(tensors["input_resolution"]) == SIZE
    assert int(tensors["context_length"]) == 77
    state = read_state_dict(path)
    model = new_resnet_clip(vocab_size=int(tensors["vocab_size"]), **vars(SIZES))
    model.load_state_dict(state)  # every key, no other
    torch.testing.assert_close(model.token_embedding.weight[rows].half(), tensors["token_rows"])


def test_shipped_weights_are_a_finished_run_of_the_recipe() -> None:
    with safe_open(HOME / "clip.safetensors", "pt") as file:
        metadata = file.metadata()
    recipe = Recipe()
    assert json.loads(metadata["recipe"]) == json.loads(json.dumps(asdict(recipe)))
    assert int(metadata["step"]) == recipe.steps
    assert int(metadata["seed"]) == recipe.seed
    assert metadata["licence"] == "MIT"


def test_used_tokens_cover_what_prompts_and_captions_say() -> None:
    used = set(used_tokens(imagenet_templates()))
    texts = [t.format(name) for t in imagenet_templates() for name in NAMES[::4]]
    texts += [f"a photo of a {name}." for name in NAMES]
    texts += [caption(make_scene(0, i), i % 3)[0] for i in range(300)]
    texts += [" ".join(["X"] * 16 + [name]) + "." for name in NAMES]
    texts += [word + end for c in CLASSES for word in c.words for end in ("", ".", ",")]
    assert {token for tokens in token_ids(texts) for token in tokens} <= used


def test_short_texts_give_the_features_of_padded_ones() -> None:
    torch.manual_seed(0)
    model = new_resnet_clip(vocab_size=50, **vars(SIZES)).eval()
    tokens = torch.randint(1, 48, (3, 77))
    ends = torch.tensor([4, 9, 11])
    tokens[torch.arange(77) > ends[:, None]] = 0
    tokens[torch.arange(3), ends] = 49  # the highest token: where OpenAI's code looks for the end
    with torch.no_grad():
        expected = model.encode_text(tokens)
        found = encode_text(model, tokens[:, :12], ends)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 100}, "image_size 100 is not a multiple of 32"),
        ({"text_heads": 3}, r"text_heads 3 must be text_width // 64 = 1"),
    ],
)
def test_impossible_sizes_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        new_resnet_clip(vocab_size=50, **{**vars(SIZES), **change})
