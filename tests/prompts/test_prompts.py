"""The fast prompt encoder equals the plain one, and says what does not fit."""

from __future__ import annotations

import pytest
import slow_reference as plain
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tai_dpt.errors import InputError
from tai_dpt.prompts.learner import (
    ClassTokens,
    PromptEncoder,
    PromptLearner,
    adapt_state_dict,
    class_tokens,
    load_contexts,
)

SOS, EOS, DOT = 49406, 49407, 269


def make_encoder(text, classes, **options) -> PromptEncoder:
    return PromptEncoder(text=text, classes=classes, start_id=SOS, **options)


@st.composite
def class_lists(draw) -> list[ClassTokens]:
    ids = st.sampled_from([320, 1929, 3989, 1615, 2533, 786, 0])
    names = draw(st.lists(st.lists(ids, min_size=1, max_size=6), min_size=1, max_size=7))
    return [ClassTokens(str(i), tuple(n), (DOT, EOS)) for i, n in enumerate(names)]


@settings(max_examples=40, deadline=None)
@given(
    classes=class_lists(),
    n_ctx=st.integers(1, 6),
    csc=st.booleans(),
    position=st.sampled_from(["end", "middle", "front"]),
    per_chunk=st.sampled_from([1, 20, 10_000]),
    kept=st.sampled_from([0, 2]),
    seed=st.integers(0, 2**16),
)
def test_fast_equals_plain(golden_backbone, classes, n_ctx, csc, position, per_chunk, kept, seed):
    text = golden_backbone.text
    generator = torch.Generator().manual_seed(seed)
    shape = (len(classes), n_ctx, text.width) if csc else (n_ctx, text.width)
    contexts = [(0.5 * torch.randn(shape, generator=generator)).requires_grad_() for _ in range(2)]
    probe = torch.randn(2, len(classes), text.embed_dim, generator=generator)
    encoder = make_encoder(
        text,
        classes,
        n_ctx=n_ctx,
        csc=csc,
        position=position,
        rows_per_chunk=per_chunk,
        chunks_kept=kept,
    )
    ours = encoder(torch.stack(contexts))
    gradients = torch.autograd.grad((ours * probe).sum(), contexts)
    reference = torch.stack(
        [
            plain.class_embeddings(text, classes, c, start_id=SOS, position=position)
            for c in contexts
        ]
    )
    expected = torch.autograd.grad((reference * probe).sum(), contexts)
    torch.testing.assert_close(ours, reference, rtol=1e-4, atol=1e-5)
    for ours_grad, expected_grad in zip(gradients, expected, strict=True):
        torch.testing.assert_close(ours_grad, expected_grad, rtol=1e-3, atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(classes=class_lists(), csc=st.booleans(), data=st.data(), seed=st.integers(0, 2**16))
def test_some_classes_are_encoded_as_among_all(golden_backbone, classes, csc, data, seed):
    order = data.draw(st.permutations(range(len(classes))))
    some = order[: data.draw(st.integers(1, len(classes)))]
    text = golden_backbone.text
    encoder = make_encoder(text, classes, n_ctx=3, csc=csc, rows_per_chunk=20)
    shape = (2, len(classes), 3, text.width) if csc else (2, 3, text.width)
    contexts = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()
    whole, part = encoder(contexts)[:, some], encoder(contexts, some)
    torch.testing.assert_close(part, whole, rtol=1e-4, atol=1e-5)
    (expected,) = torch.autograd.grad(whole.pow(3).sum(), contexts)
    (gradient,) = torch.autograd.grad(part.pow(3).sum(), contexts)
    torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-4)
    if csc:
        others = [c for c in range(len(classes)) if c not in some]
        assert not gradient[:, others].any()


def test_shared_prefix_is_the_whole_context(golden_backbone):
    names = ["dog", "traffic light", "car"]
    tokens = class_tokens(names, golden_backbone.tokenize)
    encoder = make_encoder(golden_backbone.text, tokens, n_ctx=16)
    (chunk,) = encoder.whole.chunks
    assert chunk.layout.prefix == 17
    assert chunk.layout.groups == ((2, 3), (1, 4))  # name tokens, "." and EOS


def test_underscores_are_spaces(golden_backbone):
    spaced, underscored = class_tokens(["stop sign", "stop_sign"], golden_backbone.tokenize)
    assert spaced.name_ids == underscored.name_ids
    assert spaced.tail_ids == (DOT, EOS)


def test_too_long_a_name_is_refused(golden_backbone):
    tokens = class_tokens(["dog", "very " * 60 + "long"], golden_backbone.tokenize)
    with pytest.raises(InputError, match=r"class name 'very .* room for 58"):
        make_encoder(golden_backbone.text, tokens, n_ctx=16)


def test_a_name_that_just_fits(golden_backbone):
    tokens = class_tokens(["dog " * 58], golden_backbone.tokenize)
    encoder = make_encoder(golden_backbone.text, tokens, n_ctx=16)
    context = torch.randn(16, golden_backbone.text.width)
    ours = encoder(context[None])[0]
    reference = plain.class_embeddings(
        golden_backbone.text, tokens, context, start_id=SOS, position="end"
    )
    torch.testing.assert_close(ours, reference, rtol=1e-4, atol=1e-5)


def test_unknown_position_lists_the_valid_ones(golden_backbone):
    tokens = class_tokens(["dog"], golden_backbone.tokenize)
    with pytest.raises(InputError, match="'midle'; did you mean 'middle'\\? valid: end, middle"):
        make_encoder(golden_backbone.text, tokens, n_ctx=4, position="midle")


def make_learner(
    backbone, names, contexts=("global", "local"), csc=False, numbers=None
) -> PromptLearner:
    tokens = class_tokens(names, backbone.tokenize)
    encoder = make_encoder(backbone.text, tokens, n_ctx=4, csc=csc)
    generator = torch.Generator().manual_seed(1)
    return PromptLearner(
        encoder=encoder,
        names=contexts,
        class_names=names,
        n_ctx=4,
        generator=generator,
        numbers=numbers,
    )


def test_checkpoint_holds_contexts_and_classes_only(golden_backbone):
    learner = make_learner(golden_backbone, ["dog", "car"])
    assert set(learner.state_dict()) == {"ctx_global", "ctx_local", "_extra_state"}
    assert all(e.norm(dim=1).allclose(torch.ones(2)) for e in learner().values())


def test_other_classes_are_refused_by_name(golden_backbone):
    state = make_learner(golden_backbone, ["dog", "car"]).state_dict()
    with pytest.raises(InputError, match=r"2 classes there, 3 here.*only here: cat, tv"):
        make_learner(golden_backbone, ["cat", "car", "tv"]).load_state_dict(state)
    with pytest.raises(InputError, match="another order"):
        make_learner(golden_backbone, ["car", "dog"]).load_state_dict(state)


def test_class_shared_contexts_carry_over_to_other_classes(golden_backbone):
    source = make_learner(golden_backbone, ["dog", "car"])
    with torch.no_grad():
        source.ctx_local.add_(1)
    target = make_learner(golden_backbone, ["cat", "tv", "bus"])
    load_contexts(target, source.state_dict())
    assert target.ctx_local.equal(source.ctx_local)
    specific = make_learner(golden_backbone, ["cat", "tv", "bus"], csc=True)
    with pytest.raises(InputError, match="only class-shared contexts"):
        load_contexts(specific, source.state_dict())


def test_class_specific_contexts_go_to_the_classes_of_the_same_name(golden_backbone):
    source = make_learner(golden_backbone, ["dog", "car", "tv"], csc=True)
    with torch.no_grad():
        for row in range(3):
            source.ctx_global[row] = row
    target = make_learner(golden_backbone, ["tv", "cat", "dog"], csc=True)
    start = target.ctx_global.detach().clone()
    assert load_contexts(target, source.state_dict()) == ["cat"]
    assert target.ctx_global[0].eq(2).all() and target.ctx_global[2].eq(0).all()
    assert target.ctx_global[1].equal(start[1])
    strangers = make_learner(golden_backbone, ["bus", "cat"], csc=True)
    with pytest.raises(InputError, match=r"none of this run's 2 \(bus, cat, …\) is among its 3"):
        load_contexts(strangers, source.state_dict())
    for damage in ({"_extra_state": None}, {"_extra_state": {"class_names": 5}}):
        with pytest.raises(InputError, match="does not hold the names of its classes"):
            load_contexts(target, {**source.state_dict(), **damage})
    with pytest.raises(InputError, match="holds 1 contexts of 3 classes"):
        load_contexts(
            target, {k: v[:1] if "ctx" in k else v for k, v in source.state_dict().items()}
        )
    nameless = {"ctx": source.ctx_global.detach(), "ctx_double": source.ctx_local.detach()}
    with pytest.raises(InputError, match="not the names of their classes"):
        load_contexts(make_learner(golden_backbone, ["dog", "car", "tv"], csc=True), nameless)


def test_learned_numbers_carry_over(golden_backbone):
    numbers = {"log_scale": 3.91, "log_sharpness": 3.0}
    contexts = ("positive", "negative")
    source = make_learner(golden_backbone, ["dog", "car"], contexts, numbers=numbers)
    with torch.no_grad():
        source.log_scale.fill_(1.5)
    target = make_learner(golden_backbone, ["cat", "tv"], contexts, numbers=numbers)
    load_contexts(target, source.state_dict())
    assert target.log_scale.item() == 1.5
    without = make_learner(golden_backbone, ["cat", "tv"], contexts)
    load_contexts(target, without.state_dict())
    assert target.log_scale.item() == 1.5


def test_checkpoints_of_dualcoops_authors_load(golden_backbone):
    numbers = {"log_scale": 3.91, "log_sharpness": 3.0}
    contexts = ("positive", "negative")
    learner = make_learner(golden_backbone, ["dog", "car"], contexts, csc=True, numbers=numbers)
    ones = torch.ones_like(learner.ctx_positive)
    model = {
        "module.prompt_learner.ctx_pos": ones,
        "module.prompt_learner.ctx_neg": 2 * ones,
        "module.prompt_learner.token_prefix_pos": torch.zeros(2, 1, 64),
        "module.image_encoder.conv1.weight": torch.zeros(3),
    }
    learner.load_state_dict(adapt_state_dict(learner, model))
    assert learner.ctx_positive.eq(1).all() and learner.ctx_negative.eq(2).all()
    assert learner.log_scale.exp().item() == pytest.approx(100)
    assert learner.log_sharpness.exp().item() == pytest.approx(20)


@pytest.mark.parametrize(
    ("contexts", "public"),
    [
        (("global", "local"), {"ctx": "ctx_global", "ctx_double": "ctx_local"}),
        (("positive", "negative"), {"ctx": "ctx_positive", "ctx_neg": "ctx_negative"}),
    ],
)
def test_public_checkpoints_load(golden_backbone, contexts, public):
    learner = make_learner(golden_backbone, ["dog", "car"], contexts)
    state = {
        theirs: torch.full_like(getattr(learner, ours), i + 1.0)
        for i, (theirs, ours) in enumerate(public.items())
    }
    state |= {"token_prefix": torch.zeros(2, 1, 64), "token_suffix": torch.zeros(2, 72, 64)}
    learner.load_state_dict(adapt_state_dict(learner, state))
    for i, ours in enumerate(public.values()):
        assert getattr(learner, ours).eq(i + 1.0).all()
