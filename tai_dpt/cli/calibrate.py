"""``tai-dpt calibrate``: probabilities and a threshold from images of the user's own."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from tai_dpt.cli.command import Beside, command
from tai_dpt.cli.names import FILE
from tai_dpt.cli.options import RECTIFICATIONS, tagger_argument, tagger_options, view_option
from tai_dpt.errors import InputError
from tai_dpt.io.console import answer, bar, say
from tai_dpt.io.image_files import find_images, missing_files
from tai_dpt.io.image_names import did_you_mean, locate, refuse_twice
from tai_dpt.io.output import check_room

if TYPE_CHECKING:
    from tai_dpt.scoring.calibration import Calibration

_AUTO = "auto"


@command(
    counts={
        **dict.fromkeys(
            ("per_class", "zero", "present_from", "separator", "skip_columns"), Beside("labelled")
        ),
        "expect": Beside("images"),
    }
)
@tagger_argument
@click.option(
    "--labelled",
    type=click.Path(path_type=Path, dir_okay=False),
    help="CSV, TSV or JSON lines of images and what is in them: columns file and labels "
    "('dog;car'), or a column a class. Paths are relative to the file.",
)
@click.option(
    "--per-class",
    is_flag=True,
    help="With --labelled: a threshold for each class that 10 images show and 10 do not; one for "
    "all others.",
)
@click.option(
    "--rectify",
    type=click.Choice((*RECTIFICATIONS, _AUTO)),
    help="Each image's scores by each other; auto, with --labelled: what ranks those images best.  "
    "[default: as it was fitted]",
)
@click.option(
    "--zero",
    metavar="absent|unknown",
    help="With --labelled: what a 0 is in a file that has -1 too.",
)
@click.option(
    "--present-from",
    type=float,
    metavar="P",
    help="With --labelled, for soft labels: the number from 0 to 1 from which on a class is there.",
)
@click.option(
    "--separator",
    metavar="CHARACTERS",
    help="With --labelled: any of these parts the names in a column 'labels'.  [default: ;|,]",
)
@click.option(
    "--skip-columns",
    multiple=True,
    metavar="NAME",
    help="With --labelled: a column that is no class; again for more.",
)
@click.option(
    "--captions",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Other captions than those held out when it was fitted; again for more files.",
)
@click.option(
    "--images",
    "--pictures",
    "images",
    multiple=True,
    type=FILE,
    metavar="FOLDER",
    help="Unlabelled images of the kind that will be tagged; again for more.",
)
@click.option(
    "--expect",
    type=float,
    metavar="N",
    help="With --images: how many of the classes an image shows on average.  [default: as many "
    "as a caption names]",
)
@click.option("--dry-run", is_flag=True, help="Only say what would come out.")
@view_option("What of an image CLIP sees from now on.  [default: as the tagger has it]")
@tagger_options
def calibrate(
    tagger: Path,
    labelled: Path | None,
    per_class: bool,
    rectify: str | None,
    zero: str | None,
    present_from: float | None,
    separator: str | None,
    skip_columns: tuple[str, ...],
    captions: tuple[Path, ...],
    images: tuple[str, ...],
    expect: float | None,
    dry_run: bool,
    view: str | None,
    open_tagger: Any,
) -> dict[str, Any]:
    """Fit a tagger's probabilities and its threshold, from examples.

    \b
    Examples:
      tai-dpt calibrate my-tagger --labelled labels.csv
      tai-dpt calibrate my-tagger --labelled labels.csv --per-class
      tai-dpt calibrate my-tagger --images photos/
      tai-dpt calibrate my-tagger --images photos/ --expect 1.5

    'fit' calibrates on captions held out, which only stand in for images. Best are a few dozen
    labelled images; next best, ten or more unlabelled ones of the kind that will be tagged:
    captions then say how the scores of classes that are there and those that are not differ, and
    how many classes to expect, and the images say where their scores lie.
    """
    if labelled is None and not captions and not images:
        raise InputError("give --labelled, --images or --captions")
    if labelled is not None and (images or captions):
        raise InputError("--labelled needs neither --images nor --captions: leave them out")
    if rectify == _AUTO and labelled is None:
        raise InputError("--rectify auto goes with --labelled: only labels say what ranks better")
    options = {
        "zero": zero,
        "present_from": present_from,
        "separator": separator,
        "skip_columns": skip_columns or None,
    }
    reading = {name: value for name, value in options.items() if value is not None}
    from tai_dpt.scoring.rectification import check_rectification
    from tai_dpt.tagger import folder as tagger_folder

    loaded = open_tagger(tagger, view=view)
    if not dry_run:
        check_room(tagger, name=tagger_folder.ABOUT_FILE, option="the tagger's folder")
    before, rule_before = loaded.calibration, loaded.scoring.rectify
    rule = rule_before if rectify is None else "none" if rectify == _AUTO else rectify
    loaded.scoring = dataclasses.replace(loaded.scoring, rectify=rule)
    check_rectification(rule, classes=len(loaded.classes_), option="--rectify")
    if labelled is not None:
        choose = rectify == _AUTO
        result = _on_labelled_images(loaded, labelled, reading, per_class, choose)
    elif rule != rule_before and not captions:
        raise InputError(
            f"what captions gave is of scores rectified by '{rule_before}': for '{rule}' add "
            "--captions, or give --labelled"
        )
    else:
        result = _on_captions(loaded, captions, images, expect)
    if not dry_run:
        tagger_folder.write_calibration(tagger, result, loaded.scoring, view=view)
    answer(result.account(loaded.classes_))
    if (rectify or rule_before) != "none":
        answer(f"rectified by: {loaded.scoring.rectify}")
    if before is not None:
        answer(f"(before: threshold {before.threshold:.2f}, from {before.source})")
    return result.as_dict()


def _flag(option: str) -> str:
    """The switch of an option."""
    return f"--{option.replace('_', '-')}"


def _on_labelled_images(
    tagger: Any,
    table: Path,
    reading: dict[str, Any],
    per_class: bool,
    choose: bool,
) -> Calibration:
    """The calibration; with ``choose`` the tagger's rectification is chosen on the images, too."""
    import torch

    from tai_dpt.datasets.label_files import read_label_file
    from tai_dpt.scoring.calibration import SOURCES
    from tai_dpt.scoring.calibration import calibrate as fit
    from tai_dpt.scoring.rectification import choose_rectification, rectify

    names, labels = read_label_file(table, tagger.vocabulary, called=_flag, **reading)
    files = locate(names, table.parent)
    refuse_twice(names, files, where=str(table))
    paths = [table.parent / name for name in files]
    if missing := missing_files(paths):
        raise InputError(
            f"{table} names {missing[0]}, which is not there{did_you_mean(missing[0])}"
        )
    for path in paths:
        if path.is_dir():
            raise InputError(f"{table} names {path}, which is a folder, not an image")
    rows, scores = _scores(tagger, paths)
    if not rows:
        raise InputError(f"{table}: none of the {len(paths):,} images that it names can be read")
    labels = labels[rows]
    if choose:
        how = {"sharpness": tagger.softmax_sharpness}
        rule, quality = choose_rectification(scores, labels, ignore=labels == 0, **how)
        say(f"--rectify auto: {rule} (mAP {quality:.1f} on these images)")
        tagger.scoring = dataclasses.replace(tagger.scoring, rectify=rule)
        scores = rectify(torch.from_numpy(scores), rule, **how).numpy()
    return fit(scores, labels, source=SOURCES[2], ignore=labels == 0, per_class=per_class)


def _on_captions(
    tagger: Any,
    paths: tuple[Path, ...],
    images: tuple[str, ...],
    expect: float | None,
) -> Calibration:
    from tai_dpt.datasets.corpora import load_corpus
    from tai_dpt.labels import NounFilter
    from tai_dpt.scoring.calibration import Calibration, calibrate_on_captions

    tagger.need_words_known()
    if not paths:
        kept = tagger.provenance.get("calibration_on_captions")
        if kept is None:
            raise InputError(
                "the tagger keeps no calibration on captions; add --captions, or --labelled"
            )
        usable = to_align = Calibration.from_dict(kept)
    else:
        with warnings.catch_warnings():
            # that a class has no caption is said by the account
            warnings.filterwarnings("ignore", message=".*classes have no caption")
            noun_filter = NounFilter(vocabulary=tagger.vocabulary)
            corpus = load_corpus(paths, noun_filter, tokenizer=tagger.backbone.tokenizer)
        scores = tagger.caption_scores(corpus.texts)
        usable, to_align = calibrate_on_captions(scores, corpus.labels.toarray())
        cardinality = corpus.cardinality * corpus.naming_share
        to_align = dataclasses.replace(to_align, cardinality=cardinality)
    if not images:
        return usable
    found = find_images(images)
    if found.left_aside:
        say(f"left aside: {found.left_aside}")
    scores = _scores(tagger, found.paths)[1]
    return to_align.aligned(scores, expected=expect)


def _scores(tagger: Any, paths: Any) -> tuple[list[int], np.ndarray]:
    """Rows of the images that can be read, and their scores; the others are named.

    Raises:
        InputError: a score is not finite; the message names the image.
    """
    from tai_dpt.scoring.metrics import check_finite

    rows: list[int] = []
    parts = [np.zeros((0, len(tagger.classes_)), np.float32)]
    with bar(desc="scoring", unit=" images", total=len(paths)) as progress:
        for batch in tagger.stream(paths):
            rows += batch.indices
            parts.append(batch.scores.merged.numpy())
            for error in batch.errors.values():
                say(f"left out: {error}")
            progress.update(len(batch.indices) + len(batch.errors))
    scores = np.concatenate(parts)
    names = [str(paths[row]) for row in rows]
    check_finite(scores, ids=names, class_names=tagger.classes_.tolist())
    return rows, scores
