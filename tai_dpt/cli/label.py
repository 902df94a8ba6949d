"""``tai-dpt label``: read class labels off captions."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from tai_dpt.cli.command import Beside, command
from tai_dpt.cli.names import CLASSES, FILE
from tai_dpt.cli.options import overwrite_option
from tai_dpt.datasets.corpora import (
    FORMATS,
    ON_BAD_LINE,
    field_from_text,
    read_captions,
    read_labels,
)
from tai_dpt.io.atomic import atomic_write
from tai_dpt.io.console import JSON, asked_for, bar, say
from tai_dpt.io.json_text import json_text
from tai_dpt.io.output import check_output
from tai_dpt.labels import LEMMATIZERS, PRESETS, NounFilter
from tai_dpt.labels.class_lists import load_vocabulary
from tai_dpt.labels.grow import with_growth
from tai_dpt.labels.vocabulary import NAME_STYLES


@command(counts={"grow": Beside("preset", "default"), "overwrite": Beside("out")})
@click.argument("captions", type=FILE)
@click.option(
    "--classes",
    "--vocabulary",
    "vocabulary",
    required=True,
    type=CLASSES,
    help="Your class list's file; or voc2007, coco2014, nuswide.",
)
@click.option(
    "--names",
    type=click.Choice(NAME_STYLES),
    default="paper",
    help="How a benchmark's classes are called.",
)
@click.option(
    "--preset", type=click.Choice(PRESETS), default="default", help="Which noun filter reads."
)
@click.option(
    "--lemmatizer", type=click.Choice(LEMMATIZERS), help="Left out: what the preset needs."
)
@click.option(
    "--grow/--no-grow",
    default=False,
    help="Find more words for your own classes in NLTK's WordNet.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["auto", *FORMATS]),
    metavar="FORMAT",
    default="auto",
    help=f"Of CAPTIONS: {', '.join(FORMATS)}; auto finds out.",
)
@click.option("--field", help="JSON lines: the caption's field; CSV: its column.")
@click.option(
    "--on-bad-line",
    type=click.Choice(ON_BAD_LINE),
    default="error",
    help="What a line that is no caption does.",
)
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
) -> list[dict[str, Any]] | dict[str, Any]:
    """Label CAPTIONS (a file, or - for standard input).

    \b
    Examples:
      tai-dpt label captions.txt --classes classes.yaml | head
      zcat captions.txt.gz | tai-dpt label - --classes coco2014 --out labels.jsonl

    Writes a JSON line per caption, in their order: {"caption": …, "labels": [class names]}.
    Blank lines are no captions. With --json they are one list.
    """
    if out is not None:
        out = check_output(out, overwrite=overwrite, inputs=[captions, vocabulary])
    classes = load_vocabulary(vocabulary, names=names)
    if preset == "default":
        classes = with_growth(classes, wanted=grow, report=say)
    noun_filter = NounFilter(vocabulary=classes, preset=preset, lemmatizer=lemmatizer)
    texts = read_captions(
        sys.stdin.buffer if captions == "-" else captions,
        format=format_,
        field=field_from_text(field),
        on_bad_line=on_bad_line,
    )
    records: list[dict[str, Any]] = []
    as_json = asked_for(JSON) and out is None
    opened = atomic_write(out, "w", encoding="utf-8") if out else nullcontext(sys.stdout)
    with opened as stream, bar(desc="labelling", unit=" captions", total=len(texts)) as progress:
        for text, found in read_labels(texts, noun_filter):
            line = {"caption": text, "labels": [classes.names[index] for index in found]}
            if as_json:
                records.append(line)
            else:
                stream.write(json_text(line) + "\n")
            progress.update()
    return records if out is None else {"written": out, "captions": len(texts)}
