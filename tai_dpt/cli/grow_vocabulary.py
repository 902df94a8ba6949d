"""``tai-dpt grow-vocabulary``: more words for each class of a vocabulary, from WordNet."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import yaml

from tai_dpt.cli.command import command
from tai_dpt.cli.names import CLASSES
from tai_dpt.cli.options import overwrite_option
from tai_dpt.errors import InputError
from tai_dpt.io.atomic import atomic_write
from tai_dpt.io.console import answer, say
from tai_dpt.io.output import check_output
from tai_dpt.io.reading import Count, OpenRecord, checked, parse_json, parse_yaml
from tai_dpt.io.text import read_lines, read_text
from tai_dpt.labels.class_lists import load_vocabulary, vocabulary_file
from tai_dpt.labels.evidence import Evidence, earn_implied, earn_stop_list
from tai_dpt.labels.grow import grow
from tai_dpt.labels.name_entries import class_items
from tai_dpt.labels.vocabulary import Vocabulary


@command("grow-vocabulary")
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

    Prints the WordNet sense chosen for each class; give another one with a 'sense:' line in the
    class list ('sense: none' grows nothing). Needs NLTK and its WordNet.
    """
    source = vocabulary_file(vocabulary)
    if out is not None:
        read = [source, *([evidence] if evidence else [])]
        check_output(out, overwrite=overwrite, inputs=read)
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
    header, entries = _source_entries(source)
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


def in_terms_of(
    vocabulary: Vocabulary, evidence: list[Evidence], theirs: Vocabulary
) -> tuple[list[Evidence], set[int]]:
    """Evidence of another vocabulary's classes as that of the classes of the same name, and
    which these are.

    Raises:
        InputError: the evidence has classes that ``theirs`` has not.
    """
    last = max((index for row in evidence for index in row.classes), default=0)
    if last >= len(theirs):
        raise InputError(
            f"the evidence speaks of class {last}, and its class list has {len(theirs)}, counted "
            "from 0; name the list with --evidence-classes"
        )
    index = theirs.index_by_any_name()
    ours: dict[int, int] = {}
    for at in range(len(vocabulary)):
        for name in (vocabulary.dataset_names[at], *vocabulary.synonyms[at]):
            if (other := index.get(name)) is not None:
                ours.setdefault(other, at)
    rows = [
        row._replace(classes=frozenset(ours[index] for index in row.classes if index in ours))
        for row in evidence
    ]
    return rows, set(ours.values())


def _source_entries(source: Path) -> tuple[str, list[dict[str, Any]]]:
    """The comment at the head of a class list, and what it says of each class."""
    if source.suffix.lower() not in (".yaml", ".yml"):
        return "", [{"name": name} for name in Vocabulary.from_file(source).names]
    text = read_text(source)
    header = re.match(r"(#.*\n|\s*\n)*", text)
    content = parse_yaml(text, where=str(source))
    entries = [
        {"name": item} if isinstance(item, str) else dict(item)
        for item in class_items(content, source)
    ]
    return header[0] if header else "", entries


def to_yaml(entries: list[dict[str, Any]], vocabulary: Vocabulary) -> str:
    """A class list in YAML: what it said of each class, and what it has grown."""
    classes = []
    for index, entry in enumerate(entries):
        kept: dict[str, Any] = {
            key: entry[key] for key in ("name", "readable", "dataset_name") if key in entry
        }
        kept["synonyms"] = entry.get("synonyms") or list(vocabulary.synonyms[index])
        kept["sense"] = vocabulary.senses[index]
        for key, words in (
            ("stop", vocabulary.stop[index]),
            ("implied", vocabulary.implied[index]),
            ("grown", vocabulary.grown[index]),
        ):
            if words:
                kept[key] = list(words)
        classes.append(kept)
    content: dict[str, Any] = {"classes": classes}
    for key in ("modifiers", "verbs", "blocked"):
        if getattr(vocabulary, key):
            content[key] = list(getattr(vocabulary, key))
    return yaml.dump(
        content,
        Dumper=_Dumper,
        sort_keys=False,
        width=98,
        allow_unicode=True,
        default_flow_style=False,
    )


class _Dumper(yaml.SafeDumper):
    """Lists of words on flowing lines, everything else as blocks."""


def _list(dumper: yaml.SafeDumper, data: list[Any]) -> yaml.Node:
    flow = all(isinstance(item, str) for item in data)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=flow)


_Dumper.add_representer(list, _list)
