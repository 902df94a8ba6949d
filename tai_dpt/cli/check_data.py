"""``tai-dpt check-data``: what of the benchmarks and corpora is there, and what to do."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tai_dpt.cli.command import Ended, command
from tai_dpt.cli.names import SOURCE
from tai_dpt.errors import InputError, first_few, unknown
from tai_dpt.io.console import answer

if TYPE_CHECKING:
    from tai_dpt.datasets.inventory import Part

INCOMPLETE = 1  # exit code
_HEADERS = ("data", "what", "where", "found", "expected", "")

test_images_option = click.option(
    "--test-images-only",
    is_flag=True,
    help="Without what only learning from labelled images needs.",
)


@command()
@click.option("--root", required=True, type=click.Path(path_type=Path), help="The data folder.")
@click.option(
    "--dataset-config-file",
    "configs",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Also check what this config names (your own data).",
)
@test_images_option
@click.argument("datasets", type=SOURCE, nargs=-1, metavar="[DATASET]...")
def check_data(
    root: Path, configs: tuple[Path, ...], test_images_only: bool, datasets: tuple[str, ...]
) -> Ended:
    """Say what of each DATASET is under --root, what is missing, and where to get it.

    \b
    DATASET is one of
      voc2007 coco2014 nuswide                                 benchmarks
      captions_train2014 captions_val2014 captions_train2017   captions of COCO
      openimages flickr8k flickr30k                            other captions
    Without any, all of them are checked (with --dataset-config-file, that alone).

    \b
    Examples:
      tai-dpt check-data --root DATA
      tai-dpt check-data --root DATA voc2007 captions_train2014
      tai-dpt check-data --root DATA --dataset-config-file mydata.yaml

    Exit codes: 0 all of it is complete; 1 something is missing or damaged; 2 wrong input.
    """
    from tai_dpt.datasets.inventory import CHECKS
    from tai_dpt.datasets.sources import read_sources

    if not root.is_dir():
        raise InputError(f"--root {root} is no folder; 'tai-dpt get-data' makes it")
    for name in datasets:
        if name not in CHECKS:
            raise unknown("dataset", name, CHECKS)
    names = datasets or (() if configs else tuple(CHECKS))
    found = {name: CHECKS[name](root) for name in names}
    if test_images_only:
        found = {name: [p for p in parts if not p.training] for name, parts in found.items()}
    sources = read_sources()
    to_do = {
        name: sources[name].to_do(name, root)
        for name, parts in found.items()
        if not all(part.complete for part in parts)
    }
    for config in configs:
        found[config.stem] = _check_config(config, root)
    _print(found, to_do)
    complete = all(part.complete for parts in found.values() for part in parts)
    facts = {
        "root": root,
        "complete": complete,
        "data": {
            name: [{**asdict(part), "state": part.state} for part in parts]
            for name, parts in found.items()
        },
        "to_do": to_do,
    }
    return Ended(facts, 0 if complete else INCOMPLETE)


def _print(found: dict[str, list[Part]], to_do: dict[str, str]) -> None:
    from tabulate import tabulate

    rows: list[Sequence[object]] = []
    notes = []
    for name, parts in found.items():
        if all(part.found is None and not part.note for part in parts):
            rows.append((name, "everything", "", "", "", "missing"))
            continue
        for index, part in enumerate(parts):
            rows.append(
                (
                    name if index == 0 else "",
                    part.what,
                    part.path,
                    _number(part.found),
                    _number(part.expected),
                    part.state,
                )
            )
            if part.note:
                notes.append(f"{name}, {part.what.removeprefix('… ')}: {part.note}")
    align = ("left", "left", "left", "right", "right", "left")
    answer(tabulate(rows, _HEADERS, colalign=align, disable_numparse=True))
    if notes:
        answer("\nWhat is wrong:\n" + "\n".join(f"  {note}" for note in notes))
    if to_do:
        answer("\nWhat to do (DATASETS.md shows the folders):")
        answer("\n".join(f"  {name}: {advice}" for name, advice in to_do.items()))


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _check_config(config: Path, root: Path) -> list[Part]:
    """The images, labels and captions that a dataset's config names."""
    import tai_dpt.datasets  # noqa: F401  (registers the datasets)
    from tai_dpt.cli.dataset_cfg import captions_of, dataset_cfg
    from tai_dpt.datasets.base import MultiLabelDataset, dataset_path
    from tai_dpt.datasets.image_list import ImageList
    from tai_dpt.datasets.inventory import Part
    from tai_dpt.io.image_files import images_below, missing_files
    from tai_dpt.toolbox import build_dataset

    cfg = dataset_cfg(config=config, root=root)
    parts = []
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*(images are not on disk|: left aside: )")
            dataset = build_dataset(cfg)
            if not isinstance(dataset, MultiLabelDataset):
                raise InputError(f"dataset '{cfg.DATASET.NAME}' is not one of this project")
            splits = {split: dataset.listed(split) for split in ("train", "val", "test")}
    except InputError as error:
        return [Part("config", str(config), None, None, str(error))]
    classes = len(dataset.classnames)
    parts.append(Part("classes", cfg.DATASET.VOCABULARY, classes, classes))
    for split, images in splits.items():
        if not len(images):
            continue
        missing = missing_files(images.paths)
        note = f"{len(missing):,} are not on disk: {first_few(missing, 3)}" if missing else ""
        there = len(images) - len(missing)
        parts.append(Part(f"{split} images", "", there, len(images), note))
        positives = int((images.labels > 0).any(0).sum())
        parts.append(Part("… classes seen in them", "", positives, None))
    if isinstance(dataset, ImageList):
        folder = cfg.DATASET.IMAGE_LIST.IMAGES
        aside = images_below(dataset_path(cfg, folder)).left_aside
        if aside:
            parts.append(Part(f"… left aside: {aside}", folder, aside.files.total(), None))
    for name in cfg.DATASET.CORPUS.FILES:
        try:
            parts.append(Part("captions", name, len(captions_of(cfg, name)), None))
        except InputError as error:
            parts.append(Part("captions", name, None, None, str(error)))
    return parts
