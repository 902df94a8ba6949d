"""Preprocessing: what a CLIP sees of an image, and the values that nothing can be prepared by."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms as T

from tai_dpt.backbones import PIXEL_MEAN, PIXEL_STD, Backbone, Preprocessing
from tai_dpt.errors import InputError

from clips import TEXT, TINY, random_clip
from places import ROOT


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("size", [(40, 30), (30, 40), (57, 9), (8, 64), (200, 200)])
def test_it_is_clips_own(size):
    """The transforms of OpenAI's package, for images up to 8:1."""
    reference = T.Compose(
        [
            T.Resize(32, T.InterpolationMode.BICUBIC),
            T.CenterCrop(32),
            T.ToTensor(),
            T.Normalize(PIXEL_MEAN, PIXEL_STD),
        ]
    )
    image = noise(*size)
    assert torch.equal(Preprocessing((32, 32))(image), reference(image))


@settings(deadline=None, max_examples=60)
@given(
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    view=st.sampled_from(["center", "whole"]),
    multiple=st.sampled_from([8, 16]),
)
def test_any_image_comes_out_at_its_size(width, height, size, view, multiple):
    preprocessing = Preprocessing(size, view=view)
    image = noise(width, height)
    assert preprocessing(image).shape == (3, *size)
    assert preprocessing.seen(image).size == size[::-1]
    uncut = preprocessing.uncut(image, multiple=multiple)
    assert uncut.shape[1] % multiple == uncut.shape[2] % multiple == 0
    assert max(uncut.shape) <= 8 * max(size) + multiple  # a thin image does not fill the memory


@pytest.mark.parametrize("size", [(3000, 1), (1, 3000), (20_000, 3)])
@pytest.mark.parametrize("view", ["center", "whole"])
def test_a_thin_image_is_never_made_large(size, view, monkeypatch):
    made = []
    resize = Image.Image.resize

    def watched(self, size, *args, **kwargs):
        made.append(size)
        return resize(self, size, *args, **kwargs)

    monkeypatch.setattr(Image.Image, "resize", watched)
    assert Preprocessing((224, 224), view=view)(noise(*size)).shape == (3, 224, 224)
    assert all(width * height <= 4_000_000 for width, height in made)


def test_the_uncut_image_is_at_the_scale_of_the_cut_one():
    """A patch of the middle looks the same in both."""
    image = Image.new("RGB", (96, 64), "white")
    image.paste("black", (40, 24, 56, 40))  # 16 × 16 in the middle
    for size in ((32, 32), (32, 48)):
        preprocessing = Preprocessing(size)
        cut, uncut = (
            (pixels[0] < pixels[0].mean()).sum()
            for pixels in (preprocessing(image), preprocessing.uncut(image, multiple=8))
        )
        assert abs(int(cut) - int(uncut)) <= 0.2 * int(cut)


def test_the_whole_image_is_what_the_model_saw():
    image = noise(90, 70)
    preprocessing = Preprocessing((32, 64), view="whole")
    assert torch.equal(preprocessing.uncut(image, multiple=16), preprocessing(image))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": (0, 0)}, "size is (0, 0)"),
        ({"size": (-1, -1)}, "a height and a width"),
        ({"size": (10**30, 32)}, "1 … 8192"),
        ({"size": 32}, "size is 32"),
        ({"size": "32"}, "size is '32'"),
        ({"size": (32.5, 32)}, "size is"),
        ({"size": (True, True)}, "size is"),
        ({"view": "centre"}, "did you mean 'center'"),
        ({"view": None}, "unknown view"),
        ({"interpolation": "cubic"}, "did you mean 'bicubic'"),
        ({"interpolation": ["bicubic"]}, "unknown interpolation"),
        ({"mean": (0.5,) * 4}, "three numbers"),
        ({"mean": (math.nan, 0.5, 0.5)}, "three numbers"),
        ({"std": "abc"}, "three numbers"),
        ({"std": (0.5, 0, 0.5)}, "must not be 0"),
        ({"colour": "sRGB"}, "unknown entry of the preprocessing 'colour'"),
    ],
)
def test_values_that_nothing_can_be_prepared_by(change, message):
    with pytest.raises(InputError) as error:
        Preprocessing.from_dict({"size": [32, 32], **change})
    assert message in str(error.value)


@pytest.mark.parametrize("values", [None, 3, [1, 2], {"view": "whole"}])
def test_a_description_that_is_none(values):
    with pytest.raises(InputError, match="it must have size, view, interpolation, mean, std"):
        Preprocessing.from_dict(values)


def test_a_description_is_read_back():
    original = Preprocessing((32, 48), view="whole", mean=(0.5, 0.1, 0.2))
    assert Preprocessing.from_dict(json.loads(json.dumps(original.as_dict()))) == original


def test_the_identity_tells_them_apart():
    variants = [
        {},
        {"size": (32, 33)},
        {"view": "whole"},
        {"interpolation": "bilinear"},
        {"mean": (0.5, 0.5, 0.5)},
        {"std": (0.5, 0.5, 0.5)},
    ]
    lines = {Preprocessing(**{"size": (32, 32), **variant}).identity for variant in variants}
    assert len(lines) == len(variants)
    assert Preprocessing([32, 32]).identity == Preprocessing((32, 32)).identity


def test_a_backbone_has_its_own():
    own = Backbone(random_clip(**TINY["resnet"], **TEXT), name="tiny").preprocessing
    assert own == Preprocessing((64, 64), "center", "bicubic", PIXEL_MEAN, PIXEL_STD)
    other = Preprocessing((32, 32), view="whole", mean=(0.5,) * 3, std=(0.5,) * 3)
    backbone = Backbone(random_clip(**TINY["resnet"], **TEXT), name="tiny", preprocessing=other)
    assert backbone.preprocessing == other


def test_what_takes_longer_than_torch_is_not_imported():
    """Neither with a tagger nor to build and prepare for a CLIP."""
    code = "import sys; from tai_dpt import Tagger; from tai_dpt.backbones import load_backbone\n"
    code += f"load_backbone({str(ROOT / 'data/emoji_scenes/clip.safetensors')!r})\n"
    code += "print({'torchvision', 'pkg_resources', 'torch._dynamo'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
