"""Augmented views: repeatable, of the right size, and each step doing what it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as T
from yacs.config import CfgNode

from tai_dpt.backbones import Preprocessing
from tai_dpt.datasets.augment import (
    AUGMENTATIONS,
    Cutout,
    OneOf,
    ViewReader,
    augmentation_identity,
    augments,
    train_transform,
)
from tai_dpt.datasets.config import extend_dataset_cfg
from tai_dpt.datasets.images import pixel_batches, preprocessing_from_config
from tai_dpt.errors import InputError
from tai_dpt.toolbox import get_cfg_default

RECIPE = ("random_resized_crop", "cutout", "randaugment", "random_flip", "normalize")


def config(*transforms: str, **options: object) -> CfgNode:
    cfg = get_cfg_default()
    extend_dataset_cfg(cfg)
    cfg.INPUT.SIZE, cfg.INPUT.TRANSFORMS = (32, 40), transforms
    for key, value in options.items():
        cfg.INPUT[key] = value
    return cfg


def transform_of(cfg: CfgNode):
    return train_transform(cfg, preprocessing_from_config(cfg, Preprocessing((224, 224))))


def identity(cfg: CfgNode) -> str:
    return augmentation_identity(cfg, preprocessing_from_config(cfg, Preprocessing((224, 224))))


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    paths = []
    for i in range(3):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        coarse.resize((64, 48), Image.Resampling.BICUBIC).save(tmp_path / f"{i}.png")
        paths.append(str(tmp_path / f"{i}.png"))
    return paths


def test_a_view_depends_on_seed_number_and_file_alone(files):
    read = ViewReader(transform_of(config(*RECIPE)), seed=1)
    first = read((files[0], 0))
    assert first.shape == (3, 32, 40)
    torch.manual_seed(123)
    state = torch.get_rng_state()
    assert read((files[0], 0)).equal(first)
    assert torch.get_rng_state().equal(state)  # nobody else's randomness is disturbed
    assert not read((files[0], 1)).equal(first)
    assert not read((files[1], 0)).equal(first)
    assert not ViewReader(read.transform, seed=2)((files[0], 0)).equal(first)


def test_worker_processes_change_nothing(files):
    items = [(path, view) for view in range(3) for path in files]
    batches = [[0, 1], [2, 3, 4], [5, 6], [7, 8]]
    read = ViewReader(transform_of(config(*RECIPE)), seed=1)
    alone, helped = (
        list(pixel_batches(items, read, batches, workers=workers)) for workers in (0, 2)
    )
    for one, two in zip(alone, helped, strict=True):
        assert one.equal(two)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_every_step_is_random_alone(files, name):
    cfg = config(name)
    assert augments(cfg)
    read = ViewReader(transform_of(cfg), seed=0)
    views = [read((files[0], view)) for view in range(12)]
    assert all(view.shape == (3, 32, 40) for view in views)
    assert 0 <= min(v.min() for v in views) <= max(v.max() for v in views) <= 1
    assert len({tuple(view.flatten().tolist()) for view in views}) > 1


def test_crop_or_cutout_never_both():
    cfg = config("random_resized_crop", "cutout", RRCROP_SCALE=(0.2, 0.3))
    ramp = np.linspace(0, 255, 64, dtype=np.uint8)
    image = Image.fromarray(np.dstack([np.tile(ramp, (48, 1))] * 3))
    transform = transform_of(cfg)
    torch.manual_seed(0)
    cut = 0
    for _ in range(60):
        pixels = transform(image)
        painted = bool((pixels.std(0) > 0.01).any())  # the ramp is grey, the rectangle is not
        whole = float(pixels[:, :, -1].max() - pixels[:, :, 0].min()) > 0.9
        assert painted or not whole
        cut += painted
    assert 15 < cut < 45


def test_cutout_paints_a_rectangle_of_its_share():
    white = Image.new("RGB", (100, 60), "white")
    areas = []
    torch.manual_seed(0)
    for _ in range(200):
        painted = (np.asarray(Cutout(0.4)(white)) != 255).any(2)
        rows, columns = np.flatnonzero(painted.any(1)), np.flatnonzero(painted.any(0))
        assert painted.sum() == len(rows) * len(columns)
        areas.append((len(rows), len(columns)))
    assert max(areas)[0] == 24 and max(c for _, c in areas) == 40
    assert min(r for r, _ in areas) < 24  # some reach over the edge
    assert np.asarray(white).min() == 255  # the image given is left alone


def test_one_of_takes_each():
    torch.manual_seed(0)
    seen = {OneOf(lambda _: "a", lambda _: "b", lambda _: "c")(None) for _ in range(50)}
    assert seen == set("abc")


def test_nothing_random():
    assert not augments(config())
    assert not augments(config("normalize"))


def test_an_unknown_transform_is_named():
    with pytest.raises(InputError, match="did you mean 'random_flip'"):
        augments(config("random_flop"))


@pytest.mark.parametrize("factor", [0.0, 1.0])
def test_cutout_out_of_range(factor):
    with pytest.raises(InputError, match="CUTOUT_FACTOR"):
        transform_of(config("cutout", CUTOUT_FACTOR=factor))


@pytest.mark.parametrize(
    "change",
    [
        {"SIZE": (8, 8)},
        {"PIXEL_MEAN": [0.5, 0.5, 0.5]},
        {"CUTOUT_FACTOR": 0.3},
        {"RRCROP_SCALE": (0.1, 1.0)},
    ],
)
def test_the_key_says_what_changes_the_pixels(change):
    assert identity(config(*RECIPE)) != identity(config(*RECIPE, **change))


def test_the_mixed_policy_is_the_published_one(files):
    (policy,) = (
        t for t in transform_of(config("MLC_Policy")).transforms if isinstance(t, T.AutoAugment)
    )
    assert len(policy.policies) == 117
    assert policy.policies[25] == (("Invert", 0.1, None), ("Contrast", 0.2, 6))
    assert policy.policies[-1] == (("Equalize", 0.6, None), ("Equalize", 0.4, None))
    image = Image.open(files[0])
    for first, second in policy.policies:  # each of them can be applied
        policy.policies = [((first[0], 1.0, first[2]), (second[0], 1.0, second[2]))]
        assert policy(image).size == image.size
