"""``tai-dpt grow-vocabulary``: more words for each class of a vocabulary, from WordNet."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import yaml

from tai_dpt.cli.command import Beside, command
from tai_dpt.cli.names import CLASSES
from tai_dpt.cli.options import overwrite_option
from tai_dpt.io.atomic import atomic_write
from tai_dpt.io.console import answer, say
from tai_dpt.io.output import check_output
from tai_dpt.io.reading import Count, OpenRecord, checked, parse_json
from tai_dpt.io.text import read_lines
from tai_dpt.labels.class_list_yaml import source_entries, to_yaml
from tai_dpt.labels.class_lists import load_vocabulary, vocabulary_file
from tai_dpt.labels.evidence import Evidence, earn_implied, earn_stop_list, in_terms_of
from tai_dpt.labels.grow import grow


@command(
    "grow-vocabulary",
    counts={
        "evidence_classes": Beside("evidence"),
        "half": Beside("evidence"),
        "overwrite": Beside("out"),
    },
)
@click.argument("vocabulary", type=CLASSES)
@click.option("--out", type=click.Path(path_type=Path), help="The YAML file to write.")
@click.option(
    "--evidence",
    type=click.Path(path_type=Path),
    help="JSON lines of {caption, image_id, labels}: words that mislead there are stopped, and "
    "words that imply a class there count.",
)
@click.option(
    "--evidence-classes",
    type=CLASSES,
    default="coco2014",
    help="The vocabulary whose indices the evidence's labels are.",
)
@click.option(
    "--half",
    type=click.Choice(["even", "odd", "all"]),
    default="even",
    help="The images of the evidence that count, so that the others can be measured on.",
)
@overwrite_option
def grow_vocabulary(
    vocabulary: str,
    out: Path | None,
    evidence: Path | None,
    evidence_classes: str,
    half: str,
    overwrite: bool,
) -> dict[str, Any]:
    """Grow VOCABULARY (a built-in name or a class list) and write it as YAML.

    \b
    Examples:
      tai-dpt grow-vocabulary classes.txt --out grown.yaml
      tai-dpt grow-vocabulary voc2007 --out grown.yaml

    Prints the WordNet sense chosen for each class; give another one with a 'sense:' line in the
    class list ('sense: none' grows nothing). Needs NLTK and its WordNet.
    """
    source = vocabulary_file(vocabulary)
    if out is not None:
        read = [source, *([evidence] if evidence else [])]
        out = check_output(out, overwrite=overwrite, inputs=read)
    given = load_vocabulary(vocabulary)
    grown = grow(given, report=answer)
    if evidence is not None:
        rows = read_evidence(evidence, half=half)
        rows, known = in_terms_of(given, rows, load_vocabulary(evidence_classes))
        stop = [
            words if index in known else []
            for index, words in enumerate(earn_stop_list(grown, rows))
        ]
        for index, words in enumerate(stop):
            if words:
                answer(f"{grown.names[index]}: stopped by evidence: {', '.join(words)}")
        merged = tuple(
            tuple(sorted({*old, *new})) for old, new in zip(given.stop, stop, strict=True)
        )
        grown = grow(replace(given, stop=merged))
        grown = replace(grown, implied=earn_implied(grown, rows, known=known))
        for index, phrases in enumerate(grown.implied):
            if phrases:
                answer(f"{grown.names[index]}: implied by {', '.join(phrases)}")
    header, entries = source_entries(source)
    text = to_yaml(entries, grown)
    if out is None:
        say("not written; name a file with --out")
    else:
        with atomic_write(out, "w", encoding="utf-8") as stream:
            stream.write(header + text)
        say(f"wrote {out}")
    facts: dict[str, Any] = yaml.safe_load(text)
    return {**facts, "written": out}


class _EvidenceRow(OpenRecord):
    caption: str
    image_id: int | str
    labels: tuple[Count, ...]


def read_evidence(path: Path, *, half: str = "all") -> list[Evidence]:
    """Captions and the classes that are really in their images."""
    rows = []
    for number, line in read_lines(path):
        where = f"{path}, line {number}"
        row = checked(_EvidenceRow, parse_json(line, where=where), where=where)
        rows.append(Evidence(row.caption, row.image_id, frozenset(row.labels)))
    if half != "all":
        images = sorted({row.image for row in rows}, key=lambda image: (str(type(image)), image))
        chosen = set(images[half == "odd" :: 2])
        rows = [row for row in rows if row.image in chosen]
    return rows
