"""The config of a data set without a trainer, for the tools that look at data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from tai_dpt.io.opening import expanded


def dataset_cfg(*, config: Path | None, root: Path | None, opts: Sequence[Any] = ()) -> CfgNode:
    """Defaults, then the dataset's yaml file, then ``root``, then KEY, VALUE, KEY, VALUE, …

    Raises:
        InputError: the file cannot be read, an unknown key, or a value of another type.
    """
    from tai_dpt.toolbox import get_cfg_default
    from tai_dpt.trainers import extend_cfg
    from tai_dpt.trainers.config_files import merge_file, merge_pairs
    from tai_dpt.trainers.option_ranges import check_options

    cfg = get_cfg_default()
    extend_cfg(cfg)
    cfg.VERBOSE = False  # what is loaded is no part of what is found
    if config is not None:
        merge_file(cfg, config)
    if root is not None:
        cfg.DATASET.ROOT = str(root)
    merge_pairs(cfg, opts)
    check_options(cfg)
    return cfg


def captions_of(cfg: CfgNode, file: str) -> list[str]:
    """The captions of one of ``DATASET.CORPUS.FILES`` (a pattern: of all), before any filter.

    Errors as in ``tai_dpt.datasets.corpora.read_captions``.
    """
    from tai_dpt.datasets.corpora import field_from_text, read_captions
    from tai_dpt.datasets.corpora.readers import caption_files

    options = cfg.DATASET.CORPUS
    place = expanded(cfg.DATASET.ROOT) / expanded(file)
    return [
        caption
        for path in caption_files([place])
        for caption in read_captions(
            path,
            format=options.FORMAT,
            field=field_from_text(options.FIELD),
            one_per_image=options.ONE_PER_IMAGE,
            on_bad_line=options.ON_BAD_LINE,
        )
    ]
