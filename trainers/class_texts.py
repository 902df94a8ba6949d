"""Class embeddings that nobody learned: of templates, of class names in sentences, of captions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tai_dpt.backbones import Backbone
from tai_dpt.datasets.base import MultiLabelDataset
from tai_dpt.datasets.corpora import LabelledCorpus
from tai_dpt.errors import InputError
from tai_dpt.features import FeatureStore
from tai_dpt.io.reading import shown_value
from tai_dpt.labels.class_lists import imagenet_templates
from tai_dpt.scoring.concepts import class_concepts

IMAGENET = "imagenet"  # as a template: the 80 published with CLIP
_ROWS_AT_ONCE = 4096


def check_template(template: str, key: str) -> None:
    """Raise InputError for a template that says no class name; ``key`` is where it was set."""
    before, found, behind = template.partition("{}")
    if template != IMAGENET and (not found or set(before + behind) & set("{}")):
        raise InputError(
            f"{key}.TEMPLATE '{template}' has no {{}} for the name, or more than that in braces; "
            f"e.g. 'a photo of a {{}}.', or '{IMAGENET}' for the mean of 80"
        )


def template_embeddings(backbone: Backbone, names: Sequence[str], template: str) -> Tensor:
    """The class embeddings (C, D) of one template, or the normalised mean of the 80."""
    templates = imagenet_templates() if template == IMAGENET else [template]
    texts = [each.format(_spoken(name)) for name in names for each in templates]
    tokenizer = backbone.tokenizer
    for text in texts:
        if tokenizer.encoded_part(text) != text:
            raise InputError(
                f"the template with its class name, {shown_value(text)}, is longer than the "
                f"{tokenizer.context_length} tokens that the text tower reads: shorten it"
            )
    embeddings = text_embeddings(backbone, texts).view(len(names), len(templates), -1)
    return F.normalize(embeddings.mean(dim=1), dim=1)


def text_embeddings(backbone: Backbone, texts: Sequence[str]) -> Tensor:
    """The global features (n, D) of sentences, L2-normalised."""
    tokens = backbone.tokenize(texts)
    parts = [
        backbone.encode_texts(tokens[start : start + _ROWS_AT_ONCE]).global_
        for start in range(0, len(tokens), _ROWS_AT_ONCE)
    ]
    return torch.cat(parts)


def caption_concepts(
    backbone: Backbone, dataset: MultiLabelDataset, captions: FeatureStore
) -> Tensor:
    """The concepts (C, D) of the corpus's ``captions``; a class without any has its templates'."""
    fallback = template_embeddings(backbone, dataset.classnames, IMAGENET)
    return class_concepts(_labelled(dataset.corpus, captions), fallback=fallback)


def caption_features(
    corpus: LabelledCorpus, captions: FeatureStore, *, most: int, seed: int
) -> Tensor:
    """The global features of the corpus's ``captions`` (M, D), of ``most`` drawn by ``seed``."""
    count = len(corpus) - corpus.templates
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(count, generator=generator)[:most].sort().values
    return captions.global_features(rows)


def _labelled(corpus: LabelledCorpus, store: FeatureStore) -> Iterator[tuple[Tensor, Tensor]]:
    for rows in torch.arange(len(corpus) - corpus.templates).split(_ROWS_AT_ONCE):
        yield store.global_features(rows), torch.from_numpy(corpus.dense_labels(rows.numpy()))


def _spoken(name: str) -> str:
    return name.replace("_", " ")
