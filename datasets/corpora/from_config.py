"""The corpus that a config names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from yacs.config import CfgNode

from tai_dpt.backbones.tokenizers import CLIPS_OWN, Tokenizer
from tai_dpt.datasets.config import cache_folder
from tai_dpt.datasets.corpora.cache import load_corpus
from tai_dpt.datasets.corpora.labelled import (
    LabelledCorpus,
    label_corpus,
    label_matrix,
    limit_per_class,
)
from tai_dpt.datasets.corpora.readers import field_from_text
from tai_dpt.datasets.corpora.sampling import Keep
from tai_dpt.errors import InputError
from tai_dpt.io.opening import expanded
from tai_dpt.labels import NounFilter
from tai_dpt.labels.class_lists import template_texts
from tai_dpt.labels.grow import with_growth
from tai_dpt.labels.vocabulary import Vocabulary


def corpus_from_config(
    cfg: CfgNode,
    vocabulary: Vocabulary,
    *,
    captions: Sequence[str] | None = None,
    columns: Sequence[int] | None = None,
    tokenizer: Tokenizer = CLIPS_OWN,
    report: Callable[[str], None] = print,
) -> LabelledCorpus:
    """The labelled captions of ``DATASET.CORPUS``, then the template texts of every class.

    Args:
        vocabulary: what captions are labelled with.
        captions: in place of ``FILES``; labelled and limited as theirs are.
        columns: the classes of it that are learned; all when None.
        tokenizer: of the backbone that will read the captions.
        report: takes a line about what ``GROW`` added for each class.

    Raises:
        InputError: no files are named, one cannot be read, or no caption names a class.
    """
    options = cfg.DATASET.CORPUS
    if captions is None and not options.FILES:
        raise InputError(
            "DATASET.CORPUS.FILES is empty; name the caption files to learn from, relative to "
            "DATASET.ROOT"
        )
    if options.PRESET == "default":
        vocabulary = with_growth(vocabulary, wanted=options.GROW, report=report)
    noun_filter = NounFilter(
        vocabulary=vocabulary,
        preset=options.PRESET,
        lemmatizer=options.LEMMATIZER or None,
        max_tokens=options.MAX_TOKENS or None,
    )
    keep = Keep(
        drop_duplicates=options.DROP_DUPLICATES,
        per_class=options.SAMPLE_PER_CLASS,
        seed=max(cfg.SEED, 0) if options.SAMPLE_PER_CLASS else 0,
    )
    if captions is not None:
        corpus = label_corpus(captions, noun_filter, tokenizer=tokenizer, keep=keep)
    else:
        root = expanded(cfg.DATASET.ROOT)
        corpus = load_corpus(
            [root / expanded(name) for name in options.FILES],
            noun_filter,
            format=options.FORMAT,
            field=field_from_text(options.FIELD),
            one_per_image=options.ONE_PER_IMAGE,
            on_bad_line=options.ON_BAD_LINE,
            tokenizer=tokenizer,
            cache_folder=cache_folder(cfg),
            keep=keep,
        )
    if columns is not None:
        corpus, vocabulary = corpus.of_classes(columns), vocabulary.subset(columns)
    corpus = limited(cfg, corpus)
    return with_templates(corpus, vocabulary) if options.TEMPLATES else corpus


def limited(cfg: CfgNode, corpus: LabelledCorpus) -> LabelledCorpus:
    """The captions that ``PER_CLASS_LIMIT`` and ``MAX_CAPTIONS`` let in."""
    options = cfg.DATASET.CORPUS
    if options.PER_CLASS_LIMIT:
        corpus = limit_per_class(corpus, options.PER_CLASS_LIMIT)
    if 0 < options.MAX_CAPTIONS < len(corpus):
        draw = np.random.default_rng(max(cfg.SEED, 0)).permutation(len(corpus))
        corpus = corpus.subset(np.sort(draw[: options.MAX_CAPTIONS]))
    return corpus


def with_templates(corpus: LabelledCorpus, vocabulary: Vocabulary) -> LabelledCorpus:
    """The corpus and, after it, the template texts of every class."""
    from scipy.sparse import vstack  # here: it takes a while

    texts, classes = template_texts(vocabulary)
    labels = label_matrix(([index] for index in classes), len(vocabulary))
    return replace(
        corpus,
        texts=[*corpus.texts, *texts],
        labels=vstack([corpus.labels, labels], format="csr"),
        templates=len(texts),
    )
