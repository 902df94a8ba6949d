"""``tai-dpt corpus``: what the prompts will learn from."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from numpy.typing import NDArray

from tai_dpt.cli.command import Beside, command
from tai_dpt.cli.names import CLASSES, FILE
from tai_dpt.cli.options import overwrite_option
from tai_dpt.errors import InputError, first_few, unknown
from tai_dpt.io.console import answer, one_line, say
from tai_dpt.io.output import check_output_folder

if TYPE_CHECKING:
    from yacs.config import CfgNode

    from tai_dpt.datasets.corpora import LabelledCorpus
    from tai_dpt.labels.vocabulary import Vocabulary


@command(counts={"examples": (Beside("class_name"), Beside("dropped")), "overwrite": Beside("out")})
@click.option(
    "--dataset-config-file",
    "config",
    type=click.Path(path_type=Path),
    help="The corpus of this config.",
)
@click.option("--root", type=click.Path(path_type=Path), help="The data folder of the config.")
@click.option(
    "--captions",
    type=FILE,
    multiple=True,
    metavar="FILE",
    help="Instead of a config, with --classes: caption files.",
)
@click.option(
    "--classes",
    "--vocabulary",
    "vocabulary",
    type=CLASSES,
    help="With --captions: a class list's file; or voc2007, coco2014, nuswide.",
)
@click.option("--class", "class_name", metavar="NAME", help="Show captions of this class.")
@click.option("--dropped", is_flag=True, help="Show captions that name no class.")
@click.option("--examples", type=click.IntRange(1), default=10, help="How many of them.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for images.")
@overwrite_option
@click.argument("opts", nargs=-1, metavar="[KEY VALUE]...")
def corpus(
    config: Path | None,
    root: Path | None,
    captions: tuple[str, ...],
    vocabulary: str | None,
    class_name: str | None,
    dropped: bool,
    examples: int,
    out: Path | None,
    overwrite: bool,
    opts: tuple[str, ...],
) -> dict[str, Any]:
    """Show a corpus of captions as the noun filter reads it.

    Prints captions per class, classes per caption, which classes are named together and how many
    captions are dropped. With --out it also draws them. KEY VALUE are config options.

    \b
    Examples:
      tai-dpt corpus --root DATA --dataset-config-file my-data.yaml
      tai-dpt corpus --captions captions.txt --classes my-classes.txt --out images
      tai-dpt corpus --captions captions.txt --classes coco2014 --class dog
      tai-dpt corpus --captions captions.txt --classes coco2014 \\
          DATASET.CORPUS.PRESET paper
    """
    from tai_dpt.cli.dataset_cfg import dataset_cfg
    from tai_dpt.reports.corpus_table import facts_of, summary

    if bool(config) == bool(captions):
        raise InputError("give --dataset-config-file, or --captions and --classes")
    if bool(captions) != bool(vocabulary):
        raise InputError("--captions and --classes go together")
    if out is not None:
        from tai_dpt.reports.corpus_plots import FILES

        check_output_folder(out, FILES, overwrite=overwrite)
    named = ("DATASET.CORPUS.FILES", captions, "DATASET.VOCABULARY", vocabulary)
    cfg = dataset_cfg(config=config, root=root, opts=[*(named if captions else ()), *opts])
    for key in opts[::2]:
        if not key.startswith(("DATASET.", "FEATURES.", "SEED")):
            raise InputError(f"{key} does nothing to a corpus: leave it out")
        if captions and key in named[::2]:
            raise InputError(f"--captions and --classes are given: leave {key} out")
    classes = _vocabulary(cfg)
    index = None if class_name is None else _class_index(classes, class_name)
    # read once: a file may be a pipe. What names no class is in no labelled corpus.
    texts = _captions(cfg) if dropped else None
    everything, used = _read(cfg, classes, texts)
    for line in summary(everything, used, classes):
        answer(line)
    facts = facts_of(everything, used, classes)
    if index is not None:
        facts["captions_of_class"] = _show_class(used, classes, index, examples)
    if texts is not None:
        sampled = everything.dropped > everything.naming_none
        naming = _without_sampling(cfg, classes, texts) if sampled else everything
        facts["captions_dropped"] = _show_dropped(texts, naming, examples)
    if out is not None:
        from tai_dpt.reports.corpus_plots import draw_corpus

        facts["pictures"] = list(draw_corpus(out, used.labels, classes.names))
        for path in facts["pictures"]:
            answer(f"picture: {path}")
    return facts


def _vocabulary(cfg: CfgNode) -> Vocabulary:
    import tai_dpt.datasets  # noqa: F401  (registers the datasets)
    from tai_dpt.datasets.base import vocabulary_from_config
    from tai_dpt.toolbox import build_dataset

    return vocabulary_from_config(cfg) if cfg.DATASET.VOCABULARY else build_dataset(cfg).vocabulary


def _class_index(vocabulary: Vocabulary, name: str) -> int:
    found = vocabulary.index_by_any_name().get(name)
    if found is None:
        raise unknown("class", name, vocabulary.names)
    return found


def _captions(cfg: CfgNode) -> list[str]:
    from tai_dpt.cli.dataset_cfg import captions_of

    return [text for file in cfg.DATASET.CORPUS.FILES for text in captions_of(cfg, file)]


def _read(
    cfg: CfgNode, vocabulary: Vocabulary, captions: list[str] | None
) -> tuple[LabelledCorpus, LabelledCorpus]:
    """All captions that name a class, and those of them that training would use.

    ``captions`` are those of the config's files; they are read here when None.
    """
    from tai_dpt.datasets.corpora.from_config import corpus_from_config, limited

    options = cfg.DATASET.CORPUS
    options.TEMPLATES = False
    limits = options.PER_CLASS_LIMIT, options.MAX_CAPTIONS
    options.PER_CLASS_LIMIT = options.MAX_CAPTIONS = 0
    everything = corpus_from_config(cfg, vocabulary, captions=captions, report=say)
    options.PER_CLASS_LIMIT, options.MAX_CAPTIONS = limits
    return everything, limited(cfg, everything)


def _without_sampling(cfg: CfgNode, vocabulary: Vocabulary, captions: list[str]) -> LabelledCorpus:
    """All captions that name a class; what there is to say of them ``_read`` has said."""
    from tai_dpt.datasets.corpora.from_config import corpus_from_config

    cfg.DATASET.CORPUS.SAMPLE_PER_CLASS = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return corpus_from_config(cfg, vocabulary, captions=captions, report=lambda line: None)


def _show_class(
    corpus: LabelledCorpus, vocabulary: Vocabulary, index: int, count: int
) -> list[str]:
    """Print some captions of a class, evenly over the corpus; returns their texts."""
    rows = corpus.labels[:, [index]].nonzero()[0]
    words = (*vocabulary.synonyms[index], *vocabulary.grown[index])
    answer(f"\n{vocabulary.names[index]} is read off: {first_few(words, 20)}")
    answer(f"{len(rows):,} captions name it" + (", such as" if len(rows) else ""))
    chosen = _spread(rows, count)
    for row in chosen:
        named = ", ".join(vocabulary.names[i] for i in corpus.labels[[row]].indices)
        answer(f"  {one_line(corpus.texts[row])}  [{named}]")
    return [corpus.texts[row] for row in chosen]


def _show_dropped(captions: list[str], everything: LabelledCorpus, count: int) -> list[str]:
    """Print some captions that name no class, evenly over the corpus; returns them."""
    named = set(everything.texts)
    dropped = [text for text in captions if text not in named]
    answer(f"\n{len(dropped):,} captions name no class" + (", such as" if dropped else ""))
    chosen = [dropped[row] for row in _spread(np.arange(len(dropped)), count)]
    for text in chosen:
        answer(f"  {one_line(text)}")
    return chosen


def _spread(rows: NDArray[np.integer], count: int) -> NDArray[np.integer]:
    """``count`` of ``rows``, evenly over the whole corpus."""
    if len(rows) <= count:
        return rows
    chosen = np.linspace(0, len(rows) - 1, count).round().astype(np.int64)
    spread: NDArray[np.integer] = rows[chosen]
    return spread
