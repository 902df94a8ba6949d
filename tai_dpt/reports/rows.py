"""Rows of a table: the runs of a method as lines of cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tai_dpt.errors import first_few
from tai_dpt.reports.runs import Group, RunResult, differences
from tai_dpt.reports.statistics import Cell

# draw nothing at random: one run stands for all seeds
WITHOUT_CHANCE = ("ZSCLIP", "DualPrompt", "Concepts", "SPARC", "PIAA")


@dataclass(frozen=True)
class Method:
    """A row: a trainer, and which of its scores."""

    name: str
    trainer: str
    prediction: str = "merged"
    added: str = ""  # to the trainer's method, as ``RunResult.added`` says


ZERO_SHOT = (Method("ZSCLIP", "ZSCLIP", "global"), Method("ZSCLIP + DPT", "ZSCLIP"))
FROM_CAPTIONS = (Method("TaI", "TaIDPT", "global"), Method("TaI-DPT", "TaIDPT"))


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
        if self.method.trainer in WITHOUT_CHANCE and len(set(values)) == 1:
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


def tested(groups: Sequence[Group]) -> list[Group]:
    """Those tested on all classes of their data set."""
    return [group for group in groups if group.first.split == "test" and not group.first.classes]


def lines_of(
    groups: Sequence[Group],
    dataset: str,
    method: Method,
    point: Callable[[RunResult], Any] = lambda run: None,
    swept: Sequence[str] = (),
) -> list[Series]:
    """The lines of a method: groups alike in all options but ``swept``, by ``point``."""
    mine = [g for g in groups if (g.first.dataset, g.first.trainer) == (dataset, method.trainer)]
    mine = [g for g in mine if g.first.added == method.added and g.values(method.prediction)]
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


def average(line: Series, points: Sequence[Any], expected: int) -> Cell | None:
    """The mean over all columns, seed by seed; None unless every column has the seed."""
    columns = [
        line.groups[point].values(line.method.prediction) if point in line.groups else {}
        for point in points
    ]
    seeds = sorted(set.intersection(*(set(column) for column in columns)))
    values = tuple(sum(column[seed] for column in columns) / len(columns) for seed in seeds)
    return Cell(values, expected) if values else None


def difference_text(different: Mapping[str, Any]) -> str:
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
    return first_few([*named, *others], 3)


def _variant(group: Group, different: Mapping[str, Any]) -> str:
    chosen = group.identity.get("TEST.FINAL_MODEL") == "best_test"
    honest = "epoch selected on test data" if chosen else ""
    return ", ".join(filter(None, (honest, difference_text(different))))
