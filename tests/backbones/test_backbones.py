"""What frozen CLIPs answer: against golden figures, the clip package, and slow computations."""

from __future__ import annotations

import json
import math
import os

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tai_dpt.backbones import Backbone, positions
from tai_dpt.backbones.positions import resize_positions
from tai_dpt.backbones.vit import DENSE_OPTIONS
from tai_dpt.errors import InputError

from clips import GOLDEN, assert_close, golden, golden_clip, tiny_clip

KINDS = ["resnet", "vit"]


@pytest.fixture(scope="module")
def golden_backbone() -> Backbone:
    return Backbone(golden_clip(), name="golden")


@pytest.fixture(scope="module", params=KINDS)
def pair(request):
    """A model of the clip package, and a backbone with the same weights."""
    return tiny_clip(request.param), Backbone(tiny_clip(request.param), name=request.param)


@pytest.fixture(scope="module")
def resnet() -> Backbone:
    return Backbone(tiny_clip("resnet"), name="resnet")


@pytest.fixture(scope="module")
def vit() -> Backbone:
    return Backbone(tiny_clip("vit"), name="vit")


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pooled(local: Tensor, classes: Tensor, scale: float, sharpness: float) -> Tensor:
    """Scores over local positions, with each position's own softmax weight."""
    a = torch.einsum("bnd,cd->bnc", local, classes)
    return scale * (torch.softmax(sharpness * a, dim=1) * a).sum(dim=1)


# ---- golden figures of the public code -------------------------------------------------------


def test_zero_shot_scores_are_the_golden_ones(golden_backbone):
    expected = golden("zsclip")
    names = json.loads((GOLDEN / "inputs.json").read_text())["classes"]
    tokens = golden_backbone.tokenize([f"a photo of a {name}." for name in names])
    classes = golden_backbone.encode_texts(tokens).global_
    assert_close(classes, torch.tensor(expected["text_features"]))
    scale = golden_backbone.logit_scale
    assert scale == pytest.approx(float(expected["logit_scale"]), rel=1e-6)

    batch = torch.tensor(golden("inputs")["images"])
    features = golden_backbone.encode_images(batch, position_embedding=True)
    assert_close(scale * features.global_ @ classes.T, torch.tensor(expected["global_scores"]))
    local = pooled(features.local, classes, scale, scale)
    assert_close(local, torch.tensor(expected["local_scores"]))


@pytest.mark.parametrize("csc", [False, True])
@pytest.mark.parametrize("prefix", ["", "large_"])
def test_image_scores_without_positions_are_the_golden_ones(golden_backbone, csc, prefix):
    expected = golden(f"tai_dpt_csc{csc}_end")
    names = json.loads((GOLDEN / "inputs.json").read_text())["classes"]
    batch = torch.tensor(golden("inputs")[f"{prefix}images"])
    features = golden_backbone.encode_images(batch, position_embedding=False)
    tokens = golden_backbone.tokenize([f"{name}." for name in names])

    def classes(key: str) -> Tensor:
        context = torch.tensor(expected[key]).expand(len(names), -1, -1)
        text = golden_backbone.text
        rows = []
        for ids, vectors in zip(tokens, context, strict=True):
            x = text.token_table[torch.tensor(ids)]
            x = torch.cat([x[:1], vectors, x[1:]])
            x = (x + text.positions[: len(x)])[None]
            for block in text.blocks:
                x = block(x)
            rows.append(text.project(x)[0, -1])
        return F.normalize(torch.stack(rows), dim=-1)

    global_ = 4 * features.global_ @ classes("ctx_global").T
    sharpness = 40.0  # the public code's, on images
    local = pooled(features.local, classes("ctx_local"), 4.0, sharpness)
    assert_close(global_, torch.tensor(expected[f"{prefix}image_global_scores"]))
    assert_close(local, torch.tensor(expected[f"{prefix}image_local_scores"]))


# ---- the clip package's own answers ------------------------------------------------------------


@torch.no_grad()
def test_global_features_are_the_packages(pair):
    model, backbone = pair
    batch = images(2, 3, backbone.image_size, backbone.image_size)
    features = backbone.encode_images(batch, position_embedding=True)
    assert_close(features.global_, F.normalize(model.encode_image(batch), dim=-1))


@torch.no_grad()
def test_text_at_eos_is_the_packages(pair):
    model, backbone = pair
    texts = ["a dog", "wow! a cat!", "!> stop!% now", "", "so very " * 60 + "long"]
    tokens = backbone.tokenize(texts)
    assert tokens[2].count(0) == 2  # "!" inside a run of signs is token 0, which is no padding
    features = backbone.encode_texts(tokens)
    padded = torch.zeros(len(texts), 77, dtype=torch.long)
    for row, ids in zip(padded, tokens, strict=True):
        row[: len(ids)] = torch.tensor(ids)
    assert_close(features.global_, F.normalize(model.encode_text(padded), dim=-1))
    lengths = torch.tensor([len(ids) for ids in tokens])
    assert torch.equal(features.mask.sum(1), lengths)
    last = features.local[torch.arange(len(texts)), lengths - 1]
    assert torch.equal(last, features.global_)


# ---- slow computations -------------------------------------------------------------------------


@torch.no_grad()
def test_local_features_of_a_resnet_are_the_projected_cells(resnet):
    """Every layer's output by name here, value and output projection cell by cell."""
    visual, batch = tiny_clip("resnet").visual, images(2, 3, 128, 96)
    x = batch
    for number in (1, 2, 3):
        conv, norm = getattr(visual, f"conv{number}"), getattr(visual, f"bn{number}")
        x = F.relu(norm(conv(x)))
    x = visual.avgpool(x)
    for number in (1, 2, 3, 4):
        x = getattr(visual, f"layer{number}")(x)
    assert x.shape[-2:] == (4, 3)
    cells = [
        visual.attnpool.c_proj(visual.attnpool.v_proj(x[:, :, row, column]))
        for row in range(4)
        for column in range(3)
    ]
    for position_embedding in (False, True):
        features = resnet.encode_images(batch, position_embedding=position_embedding)
        assert_close(features.local, F.normalize(torch.stack(cells, dim=1), dim=-1))
        assert features.mask.all()
        assert features.mask.shape == (2, 12)


def similar(a: Tensor, b: Tensor, extra: Tensor | float = 0.0) -> Tensor:
    """S(a, b) = softmax(a bᵀ / √d + extra), of METHODS section 4."""
    return torch.softmax(a @ b.T / a.shape[-1] ** 0.5 + extra, dim=-1)


def patch_attention(name: str, q: Tensor, k: Tensor, grid: tuple[int, int]) -> Tensor:
    """The weights with which each token of one head sees every token, the class token first."""
    if name == "value":
        return torch.eye(len(q))
    if name == "qq":
        return similar(q, q)
    if name == "qk":
        return similar(q, q) + similar(k, k)
    nearness = torch.zeros(len(k), len(k))
    places = [(row, column) for row in range(grid[0]) for column in range(grid[1])]
    for i, one in enumerate(places):
        for j, other in enumerate(places):
            nearness[1 + i, 1 + j] = math.exp(-(math.dist(one, other) ** 2) / (2 * 5.0**2))
    return similar(k, k, nearness)


@pytest.mark.parametrize("size", [(48, 48), (32, 80)])
@pytest.mark.parametrize("name", DENSE_OPTIONS)
@torch.no_grad()
def test_each_dense_option_is_its_formula(name, size):
    """Image by image and head by head, on the package's own last block."""
    visual, batch = tiny_clip("vit").visual, images(2, 3, *size)
    grid = (size[0] // 16, size[1] // 16)
    visual.positional_embedding = torch.nn.Parameter(
        resize_positions(visual.positional_embedding, *grid)
    )
    states = []
    last = visual.transformer.resblocks[-1]
    last.register_forward_pre_hook(lambda _, args: states.append(args[0]))
    global_ = F.normalize(visual(batch), dim=-1)
    rows = []
    for x in states[0].transpose(0, 1):  # (1 + N, W)
        attention = last.attn
        qkv = last.ln_1(x) @ attention.in_proj_weight.T + attention.in_proj_bias
        heads = [part.chunk(attention.num_heads, dim=-1) for part in qkv.chunk(3, dim=-1)]
        seen = [patch_attention(name, q, k, grid) @ v for q, k, v in zip(*heads, strict=True)]
        output = attention.out_proj(torch.cat(seen, dim=-1))
        if name in ("value", "qk"):
            output = x + output
            output = output + last.mlp(last.ln_2(output))
        rows.append(visual.ln_post(output[1:]) @ visual.proj)
    backbone = Backbone(tiny_clip("vit"), name="vit", dense=name)
    features = backbone.encode_images(batch, position_embedding=False)
    assert_close(features.local, F.normalize(torch.stack(rows), dim=-1))
    assert_close(features.global_, global_)
    assert features.mask.shape == (2, grid[0] * grid[1])


def test_the_dense_option_is_chosen_at_any_time_and_changes_only_local_features(vit):
    batch = images(1, 3, 48, 48)
    assert vit.dense == "qq"
    before = vit.encode_images(batch, position_embedding=False)
    other = Backbone(tiny_clip("vit"), name="vit")
    other.dense = "value"
    after = other.encode_images(batch, position_embedding=False)
    assert_close(after.global_, before.global_)
    assert not torch.allclose(after.local, before.local)


def test_unknown_dense_options_and_those_of_a_resnet_are_refused(vit, resnet):
    with pytest.raises(InputError, match=r"unknown dense option .*'qqq'.* valid: qq, qk, value"):
        vit.dense = "qqq"
    with pytest.raises(InputError, match=r"one way only.*DENSE.*leave it out"):
        resnet.dense = "qq"
    assert resnet.dense is None


def test_positions_of_another_size_are_resized_once(vit, monkeypatch):
    calls = []
    monkeypatch.setattr(
        positions, "resize_positions", lambda *a: calls.append(a[1:]) or resize_positions(*a)
    )
    for size in ((64, 48), (64, 48), (48, 48), (64, 80), (64, 48)):
        vit.encode_images(images(1, 3, *size), position_embedding=False)
    assert calls == [(4, 3), (4, 5)]


def test_a_model_of_the_package_is_left_as_it_was():
    for kind in KINDS:
        model = tiny_clip(kind)
        before = {key: value.clone() for key, value in model.state_dict().items()}
        Backbone(model, name=kind)
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@torch.no_grad()
def test_a_vit_takes_other_sizes_with_resized_positions(vit):
    model, batch = tiny_clip("vit"), images(2, 3, 64, 32)
    visual = model.visual
    visual.positional_embedding = torch.nn.Parameter(
        resize_positions(visual.positional_embedding, 4, 2)
    )
    features = vit.encode_images(batch, position_embedding=True)
    assert_close(features.global_, F.normalize(model.encode_image(batch), dim=-1))
    assert features.local.shape == (2, 8, 32)


@torch.no_grad()
def test_a_resnet_takes_other_sizes_with_resized_positions(resnet):
    model, batch = tiny_clip("resnet"), images(2, 3, 128, 96)
    pool = model.visual.attnpool
    pool.positional_embedding = torch.nn.Parameter(
        resize_positions(pool.positional_embedding, 4, 3)
    )
    features = resnet.encode_images(batch, position_embedding=True)
    assert_close(features.global_, F.normalize(model.encode_image(batch), dim=-1))


def test_positions_resize_smoothly_and_keep_the_first():
    ramp = torch.arange(7.0).repeat(7, 1)  # grows along the width, is constant along the height
    positions = torch.cat([torch.tensor([[-1.0]]), ramp.reshape(-1, 1)])
    assert resize_positions(positions, 7, 7) is positions
    resized = resize_positions(positions, 3, 14)
    assert resized[0] == -1
    grid = resized[1:].reshape(3, 14)
    assert torch.allclose(grid, grid[:1].expand(3, 14), atol=1e-5)
    assert (grid.diff(dim=1) > 0).all()


# ---- behaviour ---------------------------------------------------------------------------------


def test_position_embedding_changes_only_a_resnets_global_feature(pair):
    _, backbone = pair
    batch = images(2, 3, 64 if backbone.name == "resnet" else 48, 96)
    with_, without = (
        backbone.encode_images(batch, position_embedding=flag) for flag in (True, False)
    )
    assert torch.equal(with_.local, without.local)
    assert torch.equal(with_.global_, without.global_) == (backbone.name == "vit")


def test_features_are_normalised_and_without_gradient(pair):
    _, backbone = pair
    batch = images(2, 3, 96, 96).requires_grad_()
    features = backbone.encode_images(batch, position_embedding=True)
    for values in (features.global_, features.local):
        assert not values.requires_grad
        assert torch.allclose(values.norm(dim=-1), torch.ones(values.shape[:-1]))
    assert not any(p.requires_grad for p in backbone.image.parameters())
    assert not any(m.training for m in backbone.image.modules())


def test_samples_do_not_influence_each_other(pair):
    _, backbone = pair
    batch = images(3, 3, 96, 96)
    whole = backbone.encode_images(batch, position_embedding=True)
    alone = backbone.encode_images(batch[1:2], position_embedding=True)
    assert_close(alone.local, whole.local[1:2])
    assert_close(alone.global_, whole.global_[1:2])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_towers_give_single_precision_features(pair, dtype):
    _, backbone = pair
    half = Backbone(tiny_clip(backbone.name), name=backbone.name, dtype=dtype)
    assert half.weights_hash == backbone.weights_hash
    assert half.dtype == half.text.dtype == dtype
    batch, tokens = images(2, 3, 96, 96), backbone.tokenize(["a dog", "two cats!"])
    for exact, rough in (
        (backbone.encode_images(batch, position_embedding=True),
         half.encode_images(batch, position_embedding=True)),
        (backbone.encode_texts(tokens), half.encode_texts(tokens)),
    ):  # fmt: skip
        for name in ("global_", "local"):
            values = getattr(rough, name)
            assert values.dtype == torch.float32
            assert_close(values, getattr(exact, name), 0.1)


def test_tokens_keep_their_length_and_eos(pair):
    _, backbone = pair
    short, shout, long = backbone.tokenize(["a dog", "a dog!", "dog " * 200])
    assert (short[0], short[-1], len(short)) == (49406, 49407, 4)
    assert (shout[:3], shout[-1], len(shout)) == (short[:3], 49407, 5)
    assert len(long) == 77
    assert long[-1] == 49407
    assert backbone.tokenize("a dog") == [short]


def test_a_size_that_the_patches_do_not_divide_is_refused(vit):
    with pytest.raises(InputError, match=r"50×64 cannot be cut into patches of 16.*such as 48×64"):
        vit.encode_images(images(1, 3, 50, 64), position_embedding=True)


def test_an_image_too_small_for_a_resnet_is_refused(resnet):
    with pytest.raises(InputError, match=r"31×64 is too small.*at least 32"):
        resnet.encode_images(images(1, 3, 31, 64), position_embedding=True)


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 1, 64, 64)])
def test_images_of_another_shape_are_refused(resnet, shape):
    with pytest.raises(InputError, match=r"images must be \(B, 3, H, W\), not"):
        resnet.encode_images(images(*shape), position_embedding=True)


def test_an_integer_dtype_is_refused():
    with pytest.raises(InputError, match=r"not in torch\.int64"):
        Backbone(tiny_clip("vit"), name="vit", dtype=torch.int64)


@pytest.mark.parametrize(("given", "kept"), [(None, 64), ("7", 7)])
def test_few_compiled_products_are_kept_unless_the_user_says_otherwise(monkeypatch, given, kept):
    name = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
    monkeypatch.delenv(name, raising=False)
    if given:
        monkeypatch.setenv(name, given)
    Backbone(tiny_clip("vit"), name="vit", dtype=torch.bfloat16)
    assert os.environ[name] == str(kept)


@torch.no_grad()
@pytest.mark.parametrize("size", [(336, 336), (448, 448), (96, 64)])
@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_another_size_is_the_same_tower_with_its_positions_resized(kind, size):
    """clip's own forward pass, with a table of that size in it."""
    model, batch = tiny_clip(kind), images(1, 3, *size)
    features = Backbone(tiny_clip(kind), name=kind).encode_images(batch, position_embedding=True)
    holder = model.visual if kind == "vit" else model.visual.attnpool
    table = holder.positional_embedding  # (1 + side², W)
    side, cell = int(len(table) ** 0.5), 16 if kind == "vit" else 32
    grid = table[1:].T.reshape(1, -1, side, side)
    shape = tuple(length // cell for length in size)
    grid = F.interpolate(grid, size=shape, mode="bicubic", align_corners=False)
    resized = torch.cat([table[:1], grid.flatten(2)[0].T])
    holder.positional_embedding = torch.nn.Parameter(resized)
    assert_close(features.global_, F.normalize(model.encode_image(batch), dim=-1))
    assert features.local.shape[1] == shape[0] * shape[1]
