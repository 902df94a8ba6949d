"""Weight files in every format, and what is said about those that are none."""

from __future__ import annotations

import pickle
import re
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tai_dpt.backbones import backbone_names, load_backbone
from tai_dpt.backbones.building import build_clip, clip_sizes
from tai_dpt.backbones.weights import read_state_dict, weights_hash
from tai_dpt.errors import InputError
from tai_dpt.io.atomic import file_sha256

from clips import golden_clip, golden_state, publish, tiny_clip
from taggers import run


@pytest.fixture(scope="module")
def state():
    return tiny_clip("resnet").state_dict()


def save_jit(model, path) -> None:
    size = model.visual.input_resolution
    inputs = {
        "encode_image": torch.randn(1, 3, size, size),
        "encode_text": torch.zeros(1, 77, dtype=torch.long),
    }
    traced = torch.jit.trace_module(model, inputs, check_trace=False)
    torch.jit.save(traced.half(), str(path))


def save_wrapped(state, path) -> None:
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}, path)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_every_format_holds_the_same_weights(tmp_path, state, monkeypatch):
    half = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    sizes = {"input_resolution": torch.tensor(64), "vocab_size": torch.tensor(49408)}
    torch.save(state, tmp_path / "plain.pt")
    torch.save({**half, **sizes}, tmp_path / "half.bin")
    torch.save(state, tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
    save_wrapped(state, tmp_path / "wrapped.tar")
    save_file(half, tmp_path / "weights.safetensors")
    save_jit(tiny_clip("resnet"), tmp_path / "archive.pt")
    publish(monkeypatch, tmp_path / "archive.pt")
    files = sorted(tmp_path.iterdir())
    assert len(files) == 6
    hashes = {weights_hash(read_state_dict(path)) for path in files}
    assert hashes == {weights_hash(state)}
    assert all(v.dtype != torch.float16 for v in read_state_dict(tmp_path / "half.bin").values())


def test_a_compact_token_table_is_filled_with_zeros(tmp_path):
    path = tmp_path / "golden.safetensors"
    save_file(golden_state(), path)
    table = read_state_dict(path)["token_embedding.weight"]
    assert table.shape == (49408, 64)
    assert int(table.any(dim=1).sum()) == len(golden_state()["token_ids"])
    backbone = load_backbone(path)
    assert backbone.name == "golden"
    assert backbone.weights_hash == weights_hash(golden_clip().state_dict())


def test_another_weight_gives_another_hash(state):
    changed = {**state, "logit_scale": state["logit_scale"] + 1e-3}
    assert weights_hash(changed) != weights_hash(state)
    counted = {**state, "visual.bn1.num_batches_tracked": torch.tensor(7)}
    assert weights_hash(counted) == weights_hash(state)


def test_building_draws_no_random_number_and_copies_nothing(state):
    before = torch.get_rng_state()
    model = cast(Any, build_clip(state))
    assert torch.equal(torch.get_rng_state(), before)
    assert model.ln_final.weight.data_ptr() == state["ln_final.weight"].data_ptr()
    model.encode_text(torch.zeros(1, 77, dtype=torch.long))  # its causal mask is there


def test_sizes_are_read_off_the_shapes():
    for kind in ("resnet", "vit"):
        model = tiny_clip(kind)
        sizes = clip_sizes(model.state_dict())
        assert sizes["image_resolution"] == model.visual.input_resolution
    assert sizes["vision_layers"] == 3
    assert sizes["vision_patch_size"] == 16


def test_missing_batch_counters_do_not_matter(state):
    build_clip({k: v for k, v in state.items() if not k.endswith("num_batches_tracked")})


# ---- bad input ---------------------------------------------------------------------------------


def refused(path, message: str, **options) -> None:
    """One line, naming the file, with ``message`` in it."""
    with pytest.raises(InputError, match=message) as caught:
        load_backbone(path, **options)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_an_unknown_name_lists_the_valid_ones():
    refused("", "unknown backbone ''; valid: RN50, ")
    refused("RN500", r"unknown backbone 'RN500'; did you mean 'RN50'\? valid: RN50, .*or a path")
    refused("ViT-B/8", r"unknown backbone 'ViT-B/8'; did you mean 'ViT-B/\d+'\?")
    assert "ViT-L/14@336px" in backbone_names()


def test_a_missing_file_is_named(tmp_path):
    refused(tmp_path / "none.pt", "no such file")
    refused("../none", "no such file")
    refused("weights/none.safetensors", "no such file")
    refused(tmp_path, "a folder")


@pytest.mark.parametrize("suffix", ["pt", "legacy", "safetensors"])
@pytest.mark.parametrize("kept", [0.5, 0.999])
def test_a_truncated_file_is_refused(tmp_path, state, suffix, kept):
    path = tmp_path / f"weights.{suffix}"
    if suffix == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=suffix == "pt")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    refused(path, r"truncated or corrupt \(.+\); fetch it again")


@pytest.mark.parametrize("where", [200, -200_000])
def test_a_damaged_archive_is_refused(tmp_path, state, where):
    """In the pickle that lists the tensors, and inside a tensor."""
    path = tmp_path / "weights.pt"
    torch.save(state, path)
    data = bytearray(path.read_bytes())
    for place in range(where, where + 100):
        data[place] ^= 0xFF
    path.write_bytes(data)
    refused(path, r"truncated or corrupt \('.+' in it does not have its checksum\)")


def test_another_zip_file_is_refused(tmp_path):
    np.savez(tmp_path / "arrays.npz", values=np.zeros(3))
    refused(tmp_path / "arrays.npz", "is a zip file without weights")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html>", "is not a weight file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "run git lfs pull"),
        (b"PK\x03\x04 and then nothing", "truncated or corrupt"),
        (b"\x10\x00\x00\x00\x00\x00\x00\x00{", "truncated or corrupt"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path, content, message):
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    refused(path, message)


def test_pickled_objects_are_not_loaded(tmp_path, state):
    path = tmp_path / "model.pt"
    torch.save({"model": np.random.default_rng(0)}, path)
    refused(path, "holds pickled Python objects")
    path.write_bytes(pickle.dumps(np.random.default_rng(0), protocol=2))
    refused(path, "cannot read weights|holds pickled Python objects")


def test_a_wrong_checksum_is_refused(tmp_path, state):
    path = tmp_path / "weights.safetensors"
    save_file(state, path)
    refused(path, "wrong checksum: SHA-256 [0-9a-f]{64}, expected 00", sha256="00" * 32)
    load_backbone(path, sha256=file_sha256(path).upper())


def test_a_state_dict_of_something_else_is_refused(tmp_path, state):
    path = tmp_path / "weights.pt"

    def attempt(content, message: str) -> None:
        torch.save(content, path)
        refused(path, message)

    attempt({"prompt_learner.ctx": torch.zeros(4, 8)}, r"not a CLIP state dict.*lacks 'token_embed")
    attempt([torch.zeros(1)], "holds no state dict but a list")
    attempt({"optimizer": 3}, "tensors by name: 'optimizer' is a int")
    lacking = {k: v for k, v in state.items() if "layer2.1." not in k or "conv1" not in k}
    attempt(lacking, r"lacks 'visual\.layer2\.1\.conv1\.weight'$")
    attempt({k: v for k, v in state.items() if "attnpool" not in k}, r"lacks 'visual\.attnpool")
    attempt({**state, "extra": torch.zeros(1)}, "CLIP has no 'extra'")
    attempt(
        {**state, "visual.bn2.bias": torch.zeros(9)},
        r"'visual\.bn2\.bias' is \(9,\), expected \(4,\)",
    )
    key = "visual.attnpool.positional_embedding"
    attempt({**state, key: torch.zeros(7, 256)}, "has 7 rows, not 1 [+] a square number")
    few = {"token_embedding.weight": state["token_embedding.weight"][:100].clone()}
    attempt(state | few, "it knows 100 tokens, and OpenAI's tokenizer gives 49,408")


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript_that_nobody_published_is_converted_on_purpose_only(tmp_path, state):
    path, converted = tmp_path / "mine.pt", tmp_path / "mine.safetensors"
    save_jit(tiny_clip("resnet"), path)
    refused(path, "TorchScript, a program .* tai-dpt convert-weights IN OUT")
    code, _, error = run("convert-weights", path, converted)
    assert code == 0 and "tensors" in error
    assert load_backbone(converted).weights_hash == weights_hash(state)
    for target, message in ((path, "is what is read"), (converted, "exists; .* --overwrite")):
        code, _, error = run("convert-weights", path, target)
        assert code == 2 and re.search(message, error)


class Trap(torch.nn.Module):
    """TorchScript that writes a file while it is opened."""

    def __init__(self, target: str) -> None:
        super().__init__()
        self.target = target

    @torch.jit.export
    def __getstate__(self) -> str:
        return self.target

    @torch.jit.export
    def __setstate__(self, target: str) -> None:
        self.target = target
        self.training = False
        torch.from_file(target, shared=True, size=4).fill_(1.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_opening_a_weight_file_runs_nothing(tmp_path):
    target = tmp_path / "overwritten"
    torch.jit.script(Trap(str(target))).save(str(tmp_path / "trap.pt"))
    refused(tmp_path / "trap.pt", "TorchScript, a program")
    assert not target.exists()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("ln_final.weight", torch.tensor(1.0), "'ln_final.weight' has 0 dimensions, expected 1"),
        ("text_projection", torch.tensor(1), "0 dimensions"),
        ("ln_final.bias", torch.full((64,), torch.nan), "'ln_final.bias' holds values that are no"),
        ("ln_final.bias", torch.zeros(64, dtype=torch.int32), "holds torch.int32, expected frac"),
        ("ln_final.bias", torch.zeros(64, dtype=torch.complex64), "is no plain tensor"),
        ("ln_final.bias", torch.zeros(64).to_sparse(), "is no plain tensor"),
        ("ln_final.bias", torch.zeros(0), "is no plain tensor"),
        ("ln_final.bias", torch.quantize_per_tensor(torch.zeros(64), 1, 0, torch.qint8), "plain"),
        ("ln_final.bias", torch.empty(64, device="meta"), "is no plain tensor"),
        ("transformer.resblocks.999999999.ln_1.bias", torch.zeros(64), "it lacks"),
    ],
)
def test_weights_that_are_none(tmp_path, state, key, value, message):
    torch.save({**state, key: value}, tmp_path / "w.pt")
    refused(tmp_path / "w.pt", message)


def test_a_compact_token_table_must_be_whole(tmp_path):
    path = tmp_path / "golden.safetensors"
    state = golden_state()
    save_file({k: v for k, v in state.items() if k != "token_ids"}, path)
    refused(path, "must come with 'token_ids'")
    save_file({**state, "token_ids": state["token_ids"] + 49408}, path)
    refused(path, "'token_ids' must lie between 0 and 49407")
