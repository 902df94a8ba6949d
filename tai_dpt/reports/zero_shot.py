"""Seen and unseen classes: what is learned for the seen ones, on the unseen and on all."""

from __future__ import annotations

from collections.abc import Sequence

from tai_dpt.reports.published import benchmark_name, datasets_of, file_name, paper, single
from tai_dpt.reports.rows import FROM_CAPTIONS, ZERO_SHOT, Method, Row, Table, lines_of
from tai_dpt.reports.runs import Group, RunResult

_METHODS = (*ZERO_SHOT, *FROM_CAPTIONS, Method("DualCoOp", "DualCoOp", "local"))
_COLUMNS = {
    "unseen": ("unseen17", "concepts81", "unseen"),
    "generalised": ("all65", "all1006", "seen_and_unseen"),
}
# what a line's groups may differ in: the classes tested on, and what goes with them
_SWEPT = ("DATASET.CLASSES", "images", "MODEL.INIT_WEIGHTS", "evaluated")
_NOT_COMPARED = (
    "published: another paper's run of DualCoOp, whose code chooses its checkpoint on test data; "
    "here the last epoch is tested, on images that show one of the classes: read them beside "
    "each other, not as a margin"
)


def zero_shot(groups: Sequence[Group], expected: int) -> list[Table]:
    """For each data set: methods by unseen classes and all classes."""
    groups = [g for g in groups if g.first.split == "test" and _column(g.first)]
    columns = tuple(_COLUMNS)
    tables = []
    for dataset in datasets_of(groups):
        mine = [group for group in groups if group.first.dataset == dataset]
        rows = [
            line.row(columns, expected)
            for method in _METHODS
            for line in lines_of(mine, dataset, method, _column, _SWEPT)
        ]
        published = _published(dataset, mine)
        remarks = (_NOT_COMPARED,) if published else ()
        table = ("table zero_shot", dataset, "classes", columns, (*rows, *published), remarks)
        tables.append(Table(*table))
    return tables


def _column(run: RunResult) -> str:
    return next((name for name, subsets in _COLUMNS.items() if run.classes in subsets), "")


def _published(dataset: str, groups: Sequence[Group]) -> list[Row]:
    """Of the backbones of these runs, where the images are those of the published split."""
    table = paper()["zero_shot"]
    of_backbones = table.get(benchmark_name(dataset), {})
    counts = dict(zip(table["columns"], table["test_images"], strict=True))
    whole = all(g.first.images == counts[_column(g.first)] for g in groups)
    ran_on = {file_name(group.first.backbone) for group in groups}
    return [
        Row(f"{name} [{backbone}] (published)", tuple(map(single, values)), published=True)
        for backbone, methods in of_backbones.items()
        if whole and file_name(backbone) in ran_on
        for name, values in methods.items()
    ]
