"""TaI-DPT on one page: texts as images in prompt tuning (Guo et al., CVPR 2023, arXiv 2211.12739).

CLIP puts a caption and a photo of the same things close together, and a caption carries its own
labels: its nouns. So two prompts that learn from captions alone to find a class, one in the whole
caption and one among its words, find it in a whole photo and among its regions.

B captions or images, C classes, N words or regions, D width of the joint space, M context vectors;
every vector in the joint space has length 1. Nothing here is fast: the package computes the same
numbers many times quicker, and tests/test_one_page.py holds the two against each other.
"""

import re
from math import cos, inf, pi

import clip
import torch
import torch.nn.functional as F
from torch import nn

# ---- Captions and images become the same: whole (B, D), parts (B, N, D), which are there (B, N) --


def text_states(model, embedded):
    """CLIP's text encoder, keeping the output (B, 77, D) of every token, not of the last alone."""
    x = embedded + model.positional_embedding
    x = model.transformer(x.transpose(0, 1)).transpose(0, 1)
    return F.normalize(model.ln_final(x) @ model.text_projection, dim=-1)


@torch.no_grad()
def caption_features(model, captions):
    tokens = clip.tokenize(captions, truncate=True)
    states, end = text_states(model, model.token_embedding(tokens)), tokens.argmax(1)
    return states[range(len(end)), end], states, torch.arange(77) <= end[:, None]


@torch.no_grad()
def image_features(model, images):
    """Of a ResNet CLIP: its attention pool without positions, and the values it pools."""
    pool, model.visual.attnpool = model.visual.attnpool, nn.Identity()
    cells = model.visual(images).flatten(2).transpose(1, 2)
    model.visual.attnpool = pool
    mean = cells.mean(1, keepdim=True)
    tokens = torch.cat([mean, cells], 1)
    qkv = pool.q_proj(mean), pool.k_proj(tokens), pool.v_proj(tokens)
    heads = (x.unflatten(-1, (pool.num_heads, -1)).transpose(1, 2) for x in qkv)
    pooled = F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(1)
    whole, parts = (pool.c_proj(x) for x in (pooled, pool.v_proj(cells)))
    there = torch.ones(parts.shape[:2], dtype=torch.bool)
    return F.normalize(whole, dim=-1), F.normalize(parts, dim=-1), there


# ---- Prompts: [SOS] v_1 … v_M class name . [EOS] become class embeddings (equations 1 and 2) ----


class Prompt(nn.Module):
    def __init__(self, model, class_names, M=16):
        super().__init__()
        tokens = clip.tokenize([f"{name}." for name in class_names])
        self.names, self.end = model.token_embedding(tokens).detach(), tokens.argmax(1) + M
        self.context = nn.Parameter(0.02 * torch.randn(M, self.names.shape[-1]))  # all that learns
        self.encode = lambda embedded: text_states(model, embedded)

    def forward(self):
        C, M = len(self.names), len(self.context)
        context = self.context.expand(C, -1, -1)
        prompts = torch.cat([self.names[:, :1], context, self.names[:, 1 : 77 - M]], 1)
        return self.encode(prompts)[range(C), self.end]  # (C, D)


# ---- Scores, of captions and of images (equations 3 and 4; sharpness is 1 / τ_s) ----


def scores(features, G, L, sharpness, scale=4.0):
    """How like a class the whole is, and how like it those parts are that are most like it."""
    whole, parts, there = features
    likeness = parts @ L.T  # (B, N, C)
    weights = (sharpness * likeness).masked_fill(~there[:, :, None], -inf).softmax(1)
    return scale * whole @ G.T, scale * (weights * likeness).sum(1)  # (B, C) each


# ---- Loss: each class that is named, above each that is not, by a margin (equation 5) ----


def ranking_loss(s, labels, margin=1.0):
    short = (margin - s[:, :, None] + s[:, None, :]).relu()  # (B, C, C)
    return (short * (labels[:, :, None] & ~labels[:, None, :])).sum((1, 2)).mean()


# ---- Labels: the nouns of a caption ----


def labels_of(captions, words_of_classes):
    """(B, C): a class is named where one of its words stands in the caption."""
    classes = [re.compile(rf"\b({'|'.join(words)})(s|es)?\b", re.I) for words in words_of_classes]
    return torch.tensor([[bool(c.search(caption)) for c in classes] for caption in captions])


# ---- The loop. To recognise: the mean of both scores of image_features, with sharpness 40 ----


def learn(prompts, features, labels, *, epochs=20, batch=512, lr=1e-4):
    """SGD: an epoch at 1e-5, then down a cosine. Returns the loss of each step."""
    optimizer = torch.optim.SGD(prompts.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)
    losses = []
    for epoch in range(epochs):
        rate = lr * (1 + cos(pi * (epoch - 1) / epochs)) / 2 if epoch else 1e-5
        optimizer.param_groups[0]["lr"] = rate
        for rows in torch.randperm(len(labels)).split(batch):
            G, L = (prompt() for prompt in prompts)
            both = scores([x[rows] for x in features], G, L, sharpness=50)
            loss = sum(ranking_loss(s, labels[rows]) for s in both)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses
