"""Published figures as rows, set beneath runs of the same backbone on the same test images."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import yaml

from tai_dpt.io.shipped import config_path
from tai_dpt.reports.rows import Method, Row
from tai_dpt.reports.runs import Group
from tai_dpt.reports.statistics import Cell

PAPER = " (paper)"


@functools.cache
def paper() -> Mapping[str, Any]:
    """The paper's figures, from ``configs/paper_tables.yaml``."""
    text = config_path("paper_tables.yaml").read_text(encoding="utf-8")
    tables: Mapping[str, Any] = yaml.safe_load(text)
    return tables


def datasets_of(groups: Iterable[Group]) -> list[str]:
    """Their data sets, the paper's first and in its order."""
    known = [name for entry in paper()["benchmarks"].values() for name in entry["names"]]
    found = {group.first.dataset for group in groups}
    return [name for name in known if name in found] + sorted(found.difference(known))


def benchmark_name(dataset: str) -> str | None:
    entries = paper()["benchmarks"].items()
    return next((name for name, entry in entries if dataset in entry["names"]), None)


def benchmark_of(dataset: str, groups: Sequence[Group], remarks: list[str]) -> str | None:
    """The paper's benchmark that a data set is, if its runs were on the paper's test images."""
    name = benchmark_name(dataset)
    if name is None:
        return None
    wanted = paper()["benchmarks"][name].get("test_images")
    seen = sorted({g.first.images for g in groups if g.first.dataset == dataset})
    if wanted and any(abs(images - wanted) > 0.02 * wanted for images in seen):
        counts = ", ".join(f"{images:,}" for images in seen)
        remark = (
            f"{dataset}: evaluated on {counts} images, the benchmark has {wanted:,}; so no "
            "figure of the paper is shown"
        )
        if remark not in remarks:
            remarks.append(remark)
        return None
    return name


def same_benchmarks(
    backbone: str, datasets: Sequence[str], groups: Sequence[Group], remarks: list[str]
) -> list[str | None]:
    """The paper's benchmark of each data set, where one of its runs has this backbone: figures
    are set beneath those of the same backbone alone."""
    ran_on = {(g.first.dataset, file_name(g.first.backbone)) for g in groups}
    return [
        benchmark_of(dataset, groups, remarks) if (dataset, file_name(backbone)) in ran_on else None
        for dataset in datasets
    ]


def file_name(backbone: str) -> str:
    """A published model's name as its file has it, and a file's without folder and ending."""
    if backbone.endswith((".pt", ".safetensors")):
        return PurePath(backbone).stem
    return backbone.replace("/", "-").replace("@", "-")


def of_other_papers(
    datasets: Sequence[str], groups: Sequence[Group], remarks: list[str]
) -> list[Row]:
    """What other papers print for the backbones of these runs."""
    several = len({file_name(group.first.backbone) for group in groups}) > 1
    rows = []
    for backbone, figures in paper()["other_papers"].items():
        benchmarks = same_benchmarks(backbone, datasets, groups, remarks)
        for name, values in figures.items():
            known = dict(zip(paper()["table1"]["columns"], values, strict=True))
            label = f"{name} [{backbone}] (published)" if several else f"{name} (published)"
            rows.append(Row(label, tuple(single(known.get(b)) for b in benchmarks), published=True))
    return [row for row in rows if any(row.cells)]


def published_table1(
    method: Method, datasets: Sequence[str], groups: Sequence[Group], remarks: list[str]
) -> list[Row]:
    table = paper()["table1"]
    benchmarks = same_benchmarks(table["backbone"], datasets, groups, remarks)
    figures = dict(zip(table["columns"], table["rows"][method.name], strict=True))
    rows = [Row(method.name + PAPER, tuple(single(figures.get(b)) for b in benchmarks), True)]
    if logs := table["public_training_logs"].get(method.name):
        cells = tuple(Cell(tuple(logs[b]), 3) if b in logs else None for b in benchmarks)
        rows.append(Row(f"{method.name} (public code's logs)", cells, True))
    return [row for row in rows if any(row.cells)]


def published_row(
    name: str, columns: Sequence[str], values: Sequence[float | None], wanted: Sequence[str]
) -> Row:
    """A row of the paper, in the columns that are ``wanted``."""
    known = dict(zip(columns, values, strict=True))
    return Row(name + PAPER, tuple(single(known.get(c)) for c in wanted), published=True)


def single(value: float | None) -> Cell | None:
    return None if value is None else Cell((value,))
