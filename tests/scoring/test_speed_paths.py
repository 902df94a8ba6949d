"""The fast paths give the numbers of the simple ones."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tai_dpt.features import FeatureStore, PackedFeatures
from tai_dpt.features.precisions import PRECISIONS
from tai_dpt.prompts.learner import PromptEncoder, class_tokens
from tai_dpt.scoring import scores as scoring
from tai_dpt.scoring.scores import dual_scores, score
from tai_dpt.trainers.features import FeatureLoader

WIDTH = 8


def random_features(lengths: list[int], seed: int = 0) -> PackedFeatures:
    generator = torch.Generator().manual_seed(seed)
    local = F.normalize(torch.randn(sum(lengths), WIDTH, generator=generator), dim=-1)
    ends = torch.tensor(lengths).cumsum(0) - 1
    return PackedFeatures(local[ends], local, torch.tensor(lengths))


def scores_and_gradients(make, features, prompts, sharpness):
    """Both kinds of scores and the gradients by everything learned, flat."""
    leaves = [prompts.clone().requires_grad_(), torch.tensor(sharpness).requires_grad_()]
    found = make(features, *leaves[0], scale=4.0, sharpness=leaves[1])
    total = (found.global_.sin() + found.local.cos()).sum()
    return [found.global_, found.local, *torch.autograd.grad(total, leaves)]


@pytest.mark.parametrize("make", [score, dual_scores])
@settings(max_examples=30, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=6),
    n_classes=st.integers(1, 5),
    sharpness=st.sampled_from([0.0, 4.0, 50.0]),
    seed=st.integers(0, 999),
)
def test_packed_scores_equal_padded_ones(make, lengths, n_classes, sharpness, seed):
    packed = random_features(lengths, seed)
    prompts = F.normalize(torch.randn(2, n_classes, WIDTH), dim=-1)
    ours = scores_and_gradients(make, packed, prompts, sharpness)
    padded = scores_and_gradients(make, packed.padded(), prompts, sharpness)
    for one, other in zip(ours, padded, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [score, dual_scores])
def test_scoring_in_chunks_of_classes_changes_nothing(make, monkeypatch):
    packed = random_features([3, 1, 4])
    prompts = F.normalize(torch.randn(2, 7, WIDTH, generator=torch.manual_seed(0)), dim=-1)
    whole = scores_and_gradients(make, packed, prompts, 50.0)
    monkeypatch.setattr(scoring, "_MOST_SIMILARITIES", 2 * 3 * 4)  # two classes at a time
    chunked = scores_and_gradients(make, packed, prompts, 50.0)
    for one, other in zip(whole, chunked, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(
            make(packed, *prompts, scale=4.0, sharpness=50.0).local, whole[1].detach()
        )


def kept_bytes(run, frozen) -> int:
    """Bytes that autograd keeps for the backward pass of what ``run`` returns, besides the
    ``frozen`` module's own."""
    kept: dict[int, int] = {}
    weights = {buffer.untyped_storage().data_ptr() for buffer in frozen.buffers()}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = run()
    assert result.requires_grad
    return sum(kept.values())


def test_memory_for_more_classes_than_a_chunk_is_not_kept(golden_backbone):
    tokens = class_tokens([f"dog {i}" for i in range(60)], golden_backbone.tokenize)

    def encoder(rows_per_chunk):
        return PromptEncoder(
            text=golden_backbone.text,
            classes=tokens,
            start_id=49406,
            n_ctx=4,
            rows_per_chunk=rows_per_chunk,
            chunks_kept=2,
        )

    contexts = torch.randn(2, 4, golden_backbone.text.width, requires_grad=True)
    whole, chunked = encoder(rows_per_chunk=10_000), encoder(rows_per_chunk=20)
    some, everything = (kept_bytes(lambda: e(contexts), e) for e in (chunked, whole))  # noqa: B023
    assert some < everything / 4


@settings(max_examples=20, deadline=None)
@given(
    lengths=st.lists(st.integers(2, 12), min_size=1, max_size=8),
    budget=st.sampled_from([1, 16, 4096]),
)
def test_texts_encoded_together_equal_texts_encoded_alone(golden_backbone, lengths, budget):
    ids = [320, 1929, 3989, 1615, 2533, 786]
    texts = [[49406, *(ids[(n + i) % 6] for i in range(n - 2)), 49407] for n in lengths]
    text = golden_backbone.text
    together = text.encode_packed(texts, tokens_per_batch=budget)
    alone = [text.encode_packed([one]) for one in texts]
    assert together.lengths.tolist() == lengths
    torch.testing.assert_close(together.local, torch.cat([a.local for a in alone]))
    torch.testing.assert_close(together.global_, torch.cat([a.global_ for a in alone]))


def test_the_loader_reads_packed_batches():
    features = random_features([2, 3, 1])
    store = FeatureStore(
        lengths=features.lengths,
        local=[features.local],
        global_=None,
        embed_dim=WIDTH,
        precision=PRECISIONS["fp32"],
    )
    labels = torch.eye(3, dtype=torch.uint8)
    plan = SimpleNamespace(open=lambda: store)
    loader = FeatureLoader(lambda: plan, labels, batch_size=2, device=torch.device("cpu"))
    batches = list(loader)
    assert [len(batch["features"].local) for batch in batches] == [5, 1]
    assert torch.cat([batch["index"] for batch in batches]).tolist() == [0, 1, 2]
    assert torch.cat([batch["label"] for batch in batches]).equal(labels)
