"""The paper's tables and figures, filled from finished runs."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import yaml

from tai_dpt.io.shipped import config_path
from tai_dpt.reports.runs import Group, RunResult, differences
from tai_dpt.reports.statistics import Cell

PAPER = " (paper)"


@dataclass(frozen=True)
class Method:
    """A row: a trainer, and which of its scores."""

    name: str
    trainer: str
    prediction: str = "merged"


ZERO_SHOT = (Method("ZSCLIP", "ZSCLIP", "global"), Method("ZSCLIP + DPT", "ZSCLIP"))
FROM_CAPTIONS = (Method("TaI", "TaIDPT", "global"), Method("TaI-DPT", "TaIDPT"))
NO_LABELS = Method("TaI-DPT (no labels)", "TaIDPT")
PARTIAL = (Method("DualCoOp", "DualCoOp", "local"), Method("DualCoOp + TaI-DPT", "TaIDPTEnsemble"))
FEW_SHOT = (
    Method("CoOp", "MLCoOp", "global"),
    Method("CoOp + DPT", "MLCoOp"),
    Method("CoOp + TaI-DPT", "TaIDPTEnsemble"),
)

# the paper's rows beneath ours
PUBLISHED_AS = {
    "DualCoOp": ("DualCoOp", "DualCoOp*"),
    "DualCoOp + TaI-DPT": ("DualCoOp* + TaI-DPT",),
}
NOVEL = "coco2014_novel"  # table 3's data set

# what a line's groups may differ in; the ensemble reads another run at each point
_PARTIAL_KEYS = ("DATASET.PARTIAL.PROPORTION", "TRAINER.TAIDPTENSEMBLE.IMAGE_RUN")
_FEW_SHOT_KEYS = ("DATASET.NUM_SHOTS", "TRAINER.TAIDPTENSEMBLE.IMAGE_RUN")
_CAPTION_KEYS = ("DATASET.CORPUS.MAX_CAPTIONS",)
_proportion, _shots, _captions = map(operator.attrgetter, ("proportion", "shots", "captions"))


@dataclass(frozen=True)
class Row:
    label: str
    cells: tuple[Cell | None, ...]
    published: bool = False  # somebody else's figures
    level: bool = False  # one figure, in each of the columns: they do not concern it
    groups: tuple[Group, ...] = ()  # the runs it is computed from


@dataclass(frozen=True)
class Table:
    """Rows of cells, all of them mAP in percent."""

    kind: str  # "table 1" … "figure 7", or "runs"
    dataset: str  # "" where the columns are data sets, or rows of several are mixed
    axis: str  # what the columns are; "" where they say it themselves
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    remarks: tuple[str, ...] = ()


@dataclass
class Series:
    """One line: the groups that differ only in what is swept, by its value."""

    method: Method
    variant: str  # what tells it from the same method's other lines; "" for a single one
    groups: dict[Any, Group] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"{self.method.name} [{self.variant}]" if self.variant else self.method.name

    def cell(self, point: Any, expected: int) -> Cell | None:
        """The figure at ``point``; None where there is none."""
        if point not in self.groups:
            return None
        values = tuple(self.groups[point].values(self.method.prediction).values())
        if self.method.trainer == "ZSCLIP" and len(set(values)) == 1:
            return Cell(values[:1])  # without randomness one run is all there is
        return Cell(values, expected) if values else None

    def row(self, points: Sequence[Any], expected: int, *more: Cell | None) -> Row:
        """The figures at ``points``, then ``more``."""
        cells = tuple(self.cell(point, expected) for point in points)
        return Row(self.label, (*cells, *more), groups=tuple(self.groups.values()))

    def level(self, width: int, expected: int) -> Row:
        """The single figure of a method that the columns do not concern."""
        ((point, group),) = self.groups.items()
        cells = (self.cell(point, expected),) * width
        return Row(self.label, cells, level=True, groups=(group,))


def table1(groups: Sequence[Group], expected: int) -> list[Table]:
    """Methods by benchmarks, for what was learned from all captions."""
    groups = [g for g in _tested(groups) if _plain(g) and g.first.dataset != NOVEL]
    tables = []
    for datasets in _side_by_side(groups):
        remarks: list[str] = []
        rows: list[Row] = []
        for method in (*ZERO_SHOT, *FROM_CAPTIONS):
            lines = {
                dataset: {line.variant: line for line in _series(groups, dataset, method)}
                for dataset in datasets
            }
            for variant in dict.fromkeys(v for found in lines.values() for v in found):
                here = [lines[dataset].get(variant) for dataset in datasets]
                rows.append(
                    Row(
                        Series(method, variant).label,
                        tuple(line.cell(None, expected) if line else None for line in here),
                        groups=tuple(line.groups[None] for line in here if line),
                    )
                )
            rows += _published_table1(method, datasets, groups, remarks)
        rows += _of_other_papers(datasets, groups, remarks)
        alone = datasets[0] if len(datasets) == 1 else ""
        tables.append(Table("table 1", alone, "", tuple(datasets), tuple(rows), tuple(remarks)))
    return tables


def table2(groups: Sequence[Group], expected: int) -> list[Table]:
    """For each data set: methods by proportion of known labels, and the average."""
    groups = _tested(groups)
    trained = [g for g in groups if _made_by(g, PARTIAL) and not g.first.shots]
    tables = []
    for dataset in _datasets(trained):
        remarks: list[str] = []
        (benchmark,) = _benchmarks(paper()["table2"]["backbone"], [dataset], trained, remarks)
        published = paper()["table2"].get(benchmark, {}) if benchmark else {}
        found = {g.first.proportion for g in trained if g.first.dataset == dataset}
        points = sorted(found | ({t / 10 for t in range(1, 10)} if published else set()))
        columns = (*(f"{100 * point:g}%" for point in points), "avg")
        rows = [
            line.level(len(columns), expected)
            for line in _series([g for g in groups if _plain(g)], dataset, NO_LABELS)
        ]
        theirs = {
            name: _published(name, paper()["table2"]["columns"], values, columns)
            for name, values in published.items()
        }
        if "SARB" in theirs:
            rows.insert(0, theirs["SARB"])
        for method in PARTIAL:
            for line in _series(trained, dataset, method, _proportion, _PARTIAL_KEYS):
                rows.append(line.row(points, expected, _average(line, points, expected)))
            rows += [theirs[name] for name in PUBLISHED_AS[method.name] if name in theirs]
        if published:
            remarks.append("DualCoOp*: the paper's own run of DualCoOp")
        axis = "known labels"
        tables.append(Table("table 2", dataset, axis, columns, tuple(rows), tuple(remarks)))
    return tables


def table3(groups: Sequence[Group], expected: int) -> list[Table]:
    """COCO's 16 novel classes: runs on a data set labelled ``coco2014_novel``."""
    groups = _tested(groups)
    rows = [
        line.row([0, 1, 5], expected)
        for method in (FROM_CAPTIONS[1], *FEW_SHOT)
        for line in _series(groups, NOVEL, method, _shots, _FEW_SHOT_KEYS)
    ]
    if not rows:
        return []
    columns = tuple(paper()["table3"]["columns"])
    for name, values in paper()["table3"]["rows"].items():
        rows.append(_published(name, columns, values, columns))
    return [Table("table 3", NOVEL, "images per class", columns, tuple(rows))]


def figure6(groups: Sequence[Group], expected: int) -> list[Table]:
    """For each data set: methods by labelled images per class."""
    groups = _tested(groups)
    trained = [g for g in groups if _made_by(g, FEW_SHOT) and g.first.shots]
    tables = []
    for dataset in _datasets(trained):
        points = sorted({g.first.shots for g in trained if g.first.dataset == dataset})
        rows = [
            line.level(len(points), expected)
            for line in _series([g for g in groups if _plain(g)], dataset, NO_LABELS)
        ]
        for method in FEW_SHOT:
            for line in _series(trained, dataset, method, _shots, _FEW_SHOT_KEYS):
                rows.append(line.row(points, expected))
        axis = "labelled images per class"
        tables.append(Table("figure 6", dataset, axis, tuple(map(str, points)), tuple(rows)))
    return tables


def figure7(groups: Sequence[Group], expected: int) -> list[Table]:
    """For each data set: methods by number of captions."""
    groups = _tested(groups)
    trained = [g for g in groups if _made_by(g, FROM_CAPTIONS)]
    tables = []
    for dataset in _datasets([g for g in trained if g.first.captions]):
        points = {g.first.captions for g in trained if g.first.dataset == dataset}
        ordered = sorted(points, key=lambda captions: captions or float("inf"))
        rows = [
            line.level(len(ordered), expected)
            for method in ZERO_SHOT
            for line in _series(groups, dataset, method)
        ]
        for method in FROM_CAPTIONS:
            for line in _series(trained, dataset, method, _captions, _CAPTION_KEYS):
                rows.append(line.row(ordered, expected))
        columns = tuple(f"{point:,}" if point else "all" for point in ordered)
        tables.append(Table("figure 7", dataset, "captions", columns, tuple(rows)))
    return tables


TABLES: dict[str, Callable[[Sequence[Group], int], list[Table]]] = {
    "table 1": table1,
    "table 2": table2,
    "table 3": table3,
    "figure 6": figure6,
    "figure 7": figure7,
}


def list_groups(groups: Sequence[Group], expected: int) -> Table:
    """Every group of runs in a row of its own, with all its scores."""
    predictions = ("global", "local", "merged")
    families: dict[tuple[str, str], list[Group]] = {}
    for group in groups:
        families.setdefault((group.first.dataset, group.first.trainer), []).append(group)
    rows = []
    for family in families.values():
        for group, different in zip(family, differences(family), strict=True):
            run = group.first
            place = "/".join(part for part in (run.config, run.setting) if part)
            split = "" if run.split == "test" else f"on {run.split}"
            names = [run.dataset, run.trainer, place or _text(different), split]
            values = [tuple(group.values(prediction).values()) for prediction in predictions]
            cells = tuple(Cell(v, expected) if v else None for v in values)
            rows.append(Row(" ".join(filter(None, names)), cells, groups=(group,)))
    return Table("runs", "", "prediction", predictions, tuple(rows))


def expected_seeds(groups: Sequence[Group]) -> int:
    """The largest number of seeds that any group has."""
    return max((len(group.runs) for group in groups), default=1)


@functools.cache
def paper() -> Mapping[str, Any]:
    """The paper's figures, from ``configs/paper_tables.yaml``."""
    text = config_path("paper_tables.yaml").read_text(encoding="utf-8")
    tables: Mapping[str, Any] = yaml.safe_load(text)
    return tables


def nothing_for(kind: str) -> str:
    """What to say where no finished run belongs to ``kind`` ("": to anything)."""
    needed = {
        "table 1": "ZSCLIP or TaIDPT runs: bash scripts/table1.sh",
        "table 2": "DualCoOp runs on partial labels: bash scripts/table2.sh",
        "table 3": f"runs on a data set whose DATASET.LABEL is {NOVEL}",
        "figure 6": "MLCoOp runs with DATASET.NUM_SHOTS: bash scripts/figure6.sh",
        "figure 7": "TaIDPT runs with DATASET.CORPUS.MAX_CAPTIONS: bash scripts/figure7.sh",
    }
    if kind not in needed:
        return "no run is finished yet"
    return f"no finished run belongs to {kind}; it needs {needed[kind]}"


def _tested(groups: Sequence[Group]) -> list[Group]:
    return [group for group in groups if group.first.split == "test"]


def _made_by(group: Group, methods: Iterable[Method]) -> bool:
    return group.first.trainer in {method.trainer for method in methods}


def _plain(group: Group) -> bool:
    """Learned from all captions, or from nothing: table 1's setting."""
    return group.first.trainer in ("ZSCLIP", "TaIDPT") and not group.first.captions


def _datasets(groups: Iterable[Group]) -> list[str]:
    """Their data sets, the paper's first and in its order."""
    known = [name for entry in paper()["benchmarks"].values() for name in entry["names"]]
    found = {group.first.dataset for group in groups}
    return [name for name in known if name in found] + sorted(found.difference(known))


def _side_by_side(groups: Sequence[Group]) -> list[list[str]]:
    """Data sets that share a table: the paper's; every other one stands alone."""
    datasets = _datasets(groups)
    together = [name for name in datasets if _benchmark_name(name)]
    return ([together] if together else []) + [[n] for n in datasets if n not in together]


def _series(
    groups: Sequence[Group],
    dataset: str,
    method: Method,
    point: Callable[[RunResult], Any] = lambda run: None,
    swept: Sequence[str] = (),
) -> list[Series]:
    """The lines of a method: groups alike in all options but ``swept``, by ``point``."""
    mine = [g for g in groups if (g.first.dataset, g.first.trainer) == (dataset, method.trainer)]
    mine = [group for group in mine if group.values(method.prediction)]
    lines: dict[str, Series] = {}
    apart = zip(mine, differences(mine, swept), differences(mine), strict=True)
    for group, different, all_different in apart:
        place = point(group.first)
        variant = _variant(group, different)
        if variant in lines and place in lines[variant].groups:
            variant = _variant(group, all_different)
        number, stem = 2, variant  # many differences are shortened, and may then look alike
        while variant in lines and place in lines[variant].groups:
            variant, number = f"{stem} #{number}", number + 1
        lines.setdefault(variant, Series(method, variant)).groups[place] = group
    return sorted(lines.values(), key=lambda series: series.variant)


def _variant(group: Group, different: Mapping[str, Any]) -> str:
    chosen = group.identity.get("TEST.FINAL_MODEL") == "best_test"
    honest = "epoch selected on test data" if chosen else ""
    return ", ".join(filter(None, (honest, _text(different))))


def _text(different: Mapping[str, Any]) -> str:
    """What tells a group from its like, in few words."""
    said = ("last_step", "best_test")  # the usual one, and the one that _variant spells out
    shown = [
        (key.removeprefix("TRAINER."), value)
        for key, value in different.items()
        if not (key == "TEST.FINAL_MODEL" and value in said)
    ]
    named = [value for key, value in shown if key == "MODEL.BACKBONE.NAME"]
    others = [f"{key} {value}" for key, value in shown if key != "MODEL.BACKBONE.NAME"]
    if named:  # the weights and the input's size go with it
        others = [o for o in others if not o.startswith("weights ")]
    text = [*map(str, named), *others]
    return ", ".join(text[:3]) + (f" and {len(text) - 3} more" if len(text) > 3 else "")


def _average(line: Series, points: Sequence[Any], expected: int) -> Cell | None:
    """The mean over all columns, seed by seed; None unless every column has the seed."""
    columns = [
        line.groups[point].values(line.method.prediction) if point in line.groups else {}
        for point in points
    ]
    seeds = sorted(set.intersection(*(set(column) for column in columns)))
    values = tuple(sum(column[seed] for column in columns) / len(columns) for seed in seeds)
    return Cell(values, expected) if values else None


def _benchmark_name(dataset: str) -> str | None:
    entries = paper()["benchmarks"].items()
    return next((name for name, entry in entries if dataset in entry["names"]), None)


def _benchmark(dataset: str, groups: Sequence[Group], remarks: list[str]) -> str | None:
    """The paper's benchmark that a data set is, if its runs were on the paper's test images."""
    name = _benchmark_name(dataset)
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


def _benchmarks(
    backbone: str, datasets: Sequence[str], groups: Sequence[Group], remarks: list[str]
) -> list[str | None]:
    """The paper's benchmark of each data set, where one of its runs has this backbone: figures
    are set beneath those of the same backbone alone."""
    ran_on = {(g.first.dataset, _file_name(g.first.backbone)) for g in groups}
    return [
        _benchmark(dataset, groups, remarks) if (dataset, _file_name(backbone)) in ran_on else None
        for dataset in datasets
    ]


def _file_name(backbone: str) -> str:
    """A published model's name as its file has it, and a file's without folder and ending."""
    if backbone.endswith((".pt", ".safetensors")):
        return PurePath(backbone).stem
    return backbone.replace("/", "-").replace("@", "-")


def _of_other_papers(
    datasets: Sequence[str], groups: Sequence[Group], remarks: list[str]
) -> list[Row]:
    """What other papers print for the backbones of these runs."""
    several = len({_file_name(group.first.backbone) for group in groups}) > 1
    rows = []
    for backbone, figures in paper()["other_papers"].items():
        benchmarks = _benchmarks(backbone, datasets, groups, remarks)
        for name, values in figures.items():
            known = dict(zip(paper()["table1"]["columns"], values, strict=True))
            label = f"{name} [{backbone}] (published)" if several else f"{name} (published)"
            rows.append(Row(label, tuple(_one(known.get(b)) for b in benchmarks), published=True))
    return [row for row in rows if any(row.cells)]


def _published_table1(
    method: Method, datasets: Sequence[str], groups: Sequence[Group], remarks: list[str]
) -> list[Row]:
    table = paper()["table1"]
    benchmarks = _benchmarks(table["backbone"], datasets, groups, remarks)
    figures = dict(zip(table["columns"], table["rows"][method.name], strict=True))
    rows = [Row(method.name + PAPER, tuple(_one(figures.get(b)) for b in benchmarks), True)]
    if logs := table["public_training_logs"].get(method.name):
        cells = tuple(Cell(tuple(logs[b]), 3) if b in logs else None for b in benchmarks)
        rows.append(Row(f"{method.name} (public code's logs)", cells, True))
    return [row for row in rows if any(row.cells)]


def _published(
    name: str, columns: Sequence[str], values: Sequence[float | None], wanted: Sequence[str]
) -> Row:
    """A row of the paper, in the columns that are ``wanted``."""
    known = dict(zip(columns, values, strict=True))
    return Row(name + PAPER, tuple(_one(known.get(c)) for c in wanted), published=True)


def _one(value: float | None) -> Cell | None:
    return None if value is None else Cell((value,))
