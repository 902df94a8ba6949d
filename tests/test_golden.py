"""The figures of the public code, reproduced by the fast path."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tai_dpt.prompts.learner import PromptEncoder, PromptLearner, class_tokens
from tai_dpt.scoring.losses import asymmetric_loss, ranking_loss
from tai_dpt.scoring.metrics import average_precisions
from tai_dpt.scoring.scores import dual_scores, score

from reference import load_golden, relative_error

FORWARD, GRADIENT = 1e-5, 1e-4


def build_encoder(backbone, classes, *, csc, position="end"):
    return PromptEncoder(
        text=backbone.text,
        classes=class_tokens(classes, backbone.tokenize),
        start_id=backbone.tokenize([""])[0][0],
        n_ctx=4,
        csc=csc,
        position=position,
    )


def build_learner(backbone, classes, contexts, *, csc):
    learner = PromptLearner(
        encoder=build_encoder(backbone, classes, csc=csc),
        names=list(contexts),
        class_names=classes,
        n_ctx=4,
    )
    with torch.no_grad():
        for name, value in contexts.items():
            getattr(learner, f"ctx_{name}").copy_(value)
    return learner


@pytest.mark.parametrize("position", ["end", "middle", "front"])
@pytest.mark.parametrize("csc", [False, True])
def test_class_embeddings(golden_backbone, golden_inputs, csc, position):
    golden = load_golden(f"prompt_csc{csc}_{position}")
    encoder = build_encoder(golden_backbone, golden_inputs.classes, csc=csc, position=position)
    context = golden.ctx.clone().requires_grad_()
    embeddings = F.normalize(encoder(context[None])[0], dim=-1)
    (embeddings * golden.probe).sum().backward()
    assert relative_error(embeddings, golden.class_embeddings) < FORWARD
    assert relative_error(context.grad, golden.grad_ctx) < GRADIENT


def test_tokens(golden_backbone, golden_inputs):
    for ours, reference in zip(
        golden_backbone.tokenize(golden_inputs.captions), golden_inputs.tokens, strict=True
    ):
        assert ours == reference[: len(ours)].tolist()
        assert not reference[len(ours) :].any()


@pytest.mark.parametrize("csc", [False, True])
def test_tai_dpt(golden_backbone, golden_inputs, csc):
    golden = load_golden(f"tai_dpt_csc{csc}_end")
    learner = build_learner(
        golden_backbone,
        golden_inputs.classes,
        {"global": golden.ctx_global, "local": golden.ctx_local},
        csc=csc,
    )
    captions = golden_backbone.encode_texts(golden_backbone.tokenize(golden_inputs.captions))

    def caption_scores():
        embeddings = learner()
        return score(captions, embeddings["global"], embeddings["local"], scale=4, sharpness=50)

    def loss_of(scores):
        return sum(ranking_loss(s, golden_inputs.labels) for s in (scores.global_, scores.local))

    scores = caption_scores()
    loss = loss_of(scores)
    loss.backward()
    assert relative_error(scores.global_, golden.text_global_scores) < FORWARD
    assert relative_error(scores.local, golden.text_local_scores) < FORWARD
    assert relative_error(loss, golden.loss) < FORWARD
    assert relative_error(learner.ctx_global.grad, golden.grad_global) < GRADIENT
    assert relative_error(learner.ctx_local.grad, golden.grad_local) < GRADIENT

    embeddings = learner()
    for prefix, images in (("", golden_inputs.images), ("large_", golden_inputs.large_images)):
        features = golden_backbone.encode_images(images, position_embedding=False)
        scores = score(features, embeddings["global"], embeddings["local"], scale=4, sharpness=40)
        for kind, ours in (("global", scores.global_), ("local", scores.local)):
            reference = getattr(golden, f"{prefix}image_{kind}_scores")
            assert relative_error(ours, reference) < FORWARD

    optimizer = torch.optim.SGD(learner.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    for reference in golden.sgd_losses:
        loss = loss_of(caption_scores())
        assert relative_error(loss, reference) < FORWARD
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert relative_error(learner.ctx_global, golden.sgd_ctx_global) < GRADIENT
    assert relative_error(learner.ctx_local, golden.sgd_ctx_local) < GRADIENT


def sharpness_gradient(local, positive, negative, labels, *, scale, sharpness):
    """The loss's gradient by ``log β`` in float64, and what rounding to fp32 can make of it.

    Of a logit κ Σ_j w_j d_j it is κβ (Σ_j w_j a_j d_j − Σ_j w_j a_j · Σ_j w_j d_j). Where the
    places of an image are alike the two cancel, and fp32 keeps few digits: neither ours nor the
    public code's figure can be the other's measure.
    """
    local, positive, negative = local.double(), positive.double(), negative.double()
    a = local @ positive.T  # (B, N, C)
    d = a - local @ negative.T
    w = (sharpness * a).softmax(1)
    logits = (scale * (w * d).sum(1)).requires_grad_()
    (upstream,) = torch.autograd.grad(asymmetric_loss(logits, labels), logits)
    spread = (w * a * d).sum(1) - (w * a).sum(1) * (w * d).sum(1)
    exact = (upstream * scale * sharpness * spread).sum()
    unit = torch.finfo(torch.float32).eps * sharpness
    return float(exact), float(unit * (upstream * logits.detach()).abs().sum())


@pytest.mark.parametrize("csc", [False, True])
def test_dualcoop(golden_backbone, golden_inputs, csc):
    golden = load_golden(f"dualcoop_csc{csc}_end")
    learner = build_learner(
        golden_backbone,
        golden_inputs.classes,
        {"positive": golden.ctx_positive, "negative": golden.ctx_negative},
        csc=csc,
    )
    log_scale = golden.log_scale.float().requires_grad_()
    log_sharpness = golden.log_sharpness.float().requires_grad_()

    def image_scores(images):
        embeddings = learner()
        return dual_scores(
            golden_backbone.encode_images(images, position_embedding=False),
            embeddings["positive"],
            embeddings["negative"],
            scale=log_scale.exp(),
            sharpness=log_sharpness.exp(),
        )

    scores = image_scores(golden_inputs.images)
    loss = asymmetric_loss(scores.local, golden_inputs.partial_labels)
    loss.backward()
    assert relative_error(scores.global_, golden.global_scores) < FORWARD
    assert relative_error(scores.local, golden.local_scores) < FORWARD
    assert relative_error(loss, golden.loss) < FORWARD
    assert relative_error(learner.ctx_positive.grad, golden.grad_positive) < GRADIENT
    assert relative_error(learner.ctx_negative.grad, golden.grad_negative) < GRADIENT
    assert relative_error(log_scale.grad, golden.grad_log_scale) < GRADIENT
    exact, rounding = sharpness_gradient(
        golden_backbone.encode_images(golden_inputs.images, position_embedding=False).local,
        *(learner()[name].detach() for name in ("positive", "negative")),
        golden_inputs.partial_labels,
        scale=golden.log_scale.exp(),
        sharpness=golden.log_sharpness.exp(),
    )
    for gradient in (log_sharpness.grad, golden.grad_log_sharpness):
        assert abs(float(gradient) - exact) < 2 * rounding
    assert 2 * rounding < 5e-3 * abs(exact)  # so that a wrong gradient cannot pass
    large = image_scores(golden_inputs.large_images)
    assert relative_error(large.global_, golden.large_image_global_scores) < FORWARD
    assert relative_error(large.local, golden.large_image_local_scores) < FORWARD


def test_zero_shot(golden_backbone, golden_inputs):
    golden = load_golden("zsclip")
    prompts = [f"a photo of a {name}." for name in golden_inputs.classes]
    embeddings = golden_backbone.encode_texts(golden_backbone.tokenize(prompts)).global_
    assert relative_error(embeddings, golden.text_features) < FORWARD
    features = golden_backbone.encode_images(golden_inputs.images, position_embedding=True)
    scale = golden_backbone.logit_scale
    assert scale == pytest.approx(float(golden.logit_scale), rel=FORWARD)
    scores = score(features, embeddings, embeddings, scale=scale, sharpness=scale)
    assert relative_error(scores.global_, golden.global_scores) < FORWARD
    assert relative_error(scores.local, golden.local_scores) < FORWARD


def test_losses():
    golden = load_golden("losses")
    for loss_function, kind, target in (
        (asymmetric_loss, "asl", "asl_targets"),
        (ranking_loss, "rank", "rank_labels"),
    ):
        inputs = getattr(golden, "asl_logits" if kind == "asl" else "rank_scores").clone()
        inputs.requires_grad_()
        loss = loss_function(inputs, getattr(golden, target))
        loss.backward()
        assert relative_error(loss, getattr(golden, f"{kind}_loss")) < FORWARD
        assert relative_error(inputs.grad, getattr(golden, f"{kind}_grad")) < GRADIENT


def test_metrics():
    golden = load_golden("metrics")
    ap = torch.as_tensor(average_precisions(golden.scores_text.numpy(), golden.labels.numpy()))
    assert relative_error(ap, golden.ap_text) < FORWARD
    assert relative_error(ap.mean(), golden.map_text) < FORWARD
    signed = average_precisions(golden.scores_text.numpy(), golden.signed_labels.numpy())
    assert signed.mean() == pytest.approx(float(golden.map_signed), rel=FORWARD)
    image = average_precisions(golden.scores_image.numpy(), golden.labels.numpy())
    assert image.mean() == pytest.approx(float(golden.map_image), rel=FORWARD)
