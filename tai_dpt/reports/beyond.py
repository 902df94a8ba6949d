"""The methods after the paper beside the paper's own: methods by backbones and rectifications."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tai_dpt.reports.published import datasets_of, file_name, paper, same_benchmarks, single
from tai_dpt.reports.rows import FROM_CAPTIONS, ZERO_SHOT, Method, Row, Table, lines_of, tested
from tai_dpt.reports.runs import Group, RunResult

_METHODS = (
    *ZERO_SHOT,
    Method("ZSCLIP, 80 templates", "ZSCLIP", "global", "80 templates"),
    Method("ZSCLIP + DPT, 80 templates", "ZSCLIP", "merged", "80 templates"),
    Method("DualPrompt", "DualPrompt"),
    Method("SPARC", "SPARC"),
    Method("PIAA", "PIAA"),
    Method("Concepts", "Concepts"),
    Method("CoMC", "CoMC"),
    *FROM_CAPTIONS,
    Method("TaI-DPT + concepts", "TaIDPT", "merged", "concepts"),
)
_TRAINERS = {*(method.trainer for method in _METHODS), "Fusion"}
_OF_THE_PAPER = {"ZSCLIP", "TaIDPT"}
# what a line's groups may differ in: a column is a backbone and a rectification
_SWEPT = ("MODEL.BACKBONE.NAME", "weights", "TEST.RECTIFY")
_NOT_COMPARED = (
    "published: those papers' own figures, of their preprocessing, templates and test protocols; "
    "they say what to expect, and the difference between one of them and a run here says nothing"
)


def beyond(groups: Sequence[Group], expected: int) -> list[Table]:
    """For each data set with runs of such methods: all methods, plain and rectified."""
    groups = [g for g in tested(groups) if g.first.trainer in _TRAINERS and not g.first.captions]
    tables = []
    for dataset in datasets_of([group for group in groups if _is_later(group.first)]):
        mine = [group for group in groups if group.first.dataset == dataset]
        columns = sorted({_column(group.first) for group in mine}, key=_order)
        rows = [
            line.row(columns, expected)
            for method, its_groups in _methods(mine)
            for line in lines_of(its_groups, dataset, method, _column, _SWEPT)
        ]
        remarks: list[str] = []
        rows += _published(dataset, mine, columns, remarks)
        if not rows:
            continue
        if rows[-1].published:
            remarks.append(_NOT_COMPARED)
        several = len({backbone for backbone, _ in columns}) > 1
        names = [f"{b} {how}" if several else how for b, how in _named(columns)]
        tables.append(Table("table beyond", dataset, "", tuple(names), tuple(rows), tuple(remarks)))
    return tables


def _is_later(run: RunResult) -> bool:
    return run.trainer not in _OF_THE_PAPER or run.rectify != "none"


def _column(run: RunResult) -> tuple[str, str]:
    return run.backbone, run.rectify


def _order(column: tuple[str, str]) -> tuple[str, bool, str]:
    backbone, how = column
    return backbone, how != "none", how


def _named(columns: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for backbone, how in columns:
        yield file_name(backbone), "plain" if how == "none" else how


def _methods(groups: Sequence[Group]) -> Iterator[tuple[Method, list[Group]]]:
    """Each method with the groups to look for it in; a fusion is named by what it fuses."""
    for method in _METHODS:
        yield method, list(groups)
    fused = [group for group in groups if group.first.trainer == "Fusion"]
    for parts in dict.fromkeys(group.first.options["fused"] for group in fused):
        mine = [group for group in fused if group.first.options["fused"] == parts]
        yield Method(f"Fusion of {parts}", "Fusion"), mine


def _published(
    dataset: str, groups: Sequence[Group], columns: Sequence[tuple[str, str]], remarks: list[str]
) -> list[Row]:
    """What papers print, in the columns of their backbones; a method is a row."""
    table = paper()["table1"]
    figures: dict[str, dict[str, float]] = {}  # by method and backbone
    for backbone, methods in ((table["backbone"], table["rows"]), *paper()["other_papers"].items()):
        (benchmark,) = same_benchmarks(backbone, [dataset], groups, remarks)
        for name, values in methods.items():
            value = dict(zip(table["columns"], values, strict=True)).get(benchmark)
            if value is not None:
                figures.setdefault(name, {})[file_name(backbone)] = value
    plain = [file_name(backbone) if how == "none" else "" for backbone, how in columns]
    return [
        Row(f"{name} (published)", tuple(single(values.get(b)) for b in plain), published=True)
        for name, values in figures.items()
    ]
