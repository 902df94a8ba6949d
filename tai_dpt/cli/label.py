"""``tai-dpt label``: read class labels off captions."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterable
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import click
from tqdm import tqdm

from tai_dpt.cli.command import command
from tai_dpt.datasets.corpora import (
    FORMATS,
    ON_BAD_LINE,
    field_from_text,
    read_captions,
    read_labels,
)
from tai_dpt.io.atomic import atomic_write
from tai_dpt.io.output import check_output, overwrite_option
from tai_dpt.labels import LEMMATIZERS, PRESETS, NounFilter
from tai_dpt.labels.class_lists import load_vocabulary
from tai_dpt.labels.grow import with_growth
from tai_dpt.labels.vocabulary import NAME_STYLES

_LONG = 50_000  # captions that take more than a moment


@command()
@click.argument("captions")
@click.option(
    "--classes",
    "--vocabulary",
    "vocabulary",
    required=True,
    help="voc2007, coco2014, nuswide, or your class list's file.",
)
@click.option("--names", type=click.Choice(NAME_STYLES), default="paper")
@click.option("--preset", type=click.Choice(PRESETS), default="default")
@click.option(
    "--lemmatizer", type=click.Choice(LEMMATIZERS), help="Left out: what the preset needs."
)
@click.option(
    "--grow/--no-grow",
    default=False,
    help="Find more words for your own classes in NLTK's WordNet.",
)
@click.option("--format", "format_", type=click.Choice(["auto", *FORMATS]), default="auto")
@click.option("--field", help="JSON lines: the caption's field; CSV: its column.")
@click.option("--on-bad-line", type=click.Choice(ON_BAD_LINE), default="error")
@click.option("--out", type=click.Path(path_type=Path), help="Left out: standard output.")
@overwrite_option
def label(
    captions: str,
    vocabulary: str,
    names: str,
    preset: str,
    lemmatizer: str | None,
    grow: bool,
    format_: str,
    field: str | None,
    on_bad_line: str,
    out: Path | None,
    overwrite: bool,
) -> None:
    """Label CAPTIONS (a file, or - for standard input).

    Writes a JSON line per caption, in their order: {"caption": …, "labels": [class names]}.
    Blank lines are no captions.
    """
    if out is not None:
        check_output(out, overwrite=overwrite, inputs=[captions, vocabulary])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        classes = load_vocabulary(vocabulary, names=names)
        if preset == "default":
            report = partial(click.echo, err=True)
            classes = with_growth(classes, wanted=grow, report=report)
        noun_filter = NounFilter(vocabulary=classes, preset=preset, lemmatizer=lemmatizer)
        texts = read_captions(
            sys.stdin.buffer if captions == "-" else captions,
            format=format_,
            field=field_from_text(field),
            on_bad_line=on_bad_line,
        )
    for warning in caught:
        click.echo(f"tai-dpt: warning: {warning.message}", err=True)
    shown: Iterable[str] = texts
    if len(texts) >= _LONG and sys.stderr.isatty():
        shown = tqdm(texts, desc="labelling", unit=" captions")
    opened = atomic_write(out, "w", encoding="utf-8") if out else nullcontext(sys.stdout)
    with opened as stream:
        for text, found in read_labels(shown, noun_filter):
            line = {"caption": text, "labels": [classes.names[index] for index in found]}
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")
