"""The paper's tables and figures, filled from finished runs."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence

from tai_dpt.reports.beyond import beyond
from tai_dpt.reports.published import (
    PAPER,
    benchmark_name,
    datasets_of,
    of_other_papers,
    paper,
    published_row,
    published_table1,
    same_benchmarks,
    single,
)
from tai_dpt.reports.rows import (
    FROM_CAPTIONS,
    ZERO_SHOT,
    Method,
    Row,
    Series,
    Table,
    average,
    difference_text,
    lines_of,
    tested,
)
from tai_dpt.reports.runs import Group, differences
from tai_dpt.reports.statistics import Cell
from tai_dpt.reports.zero_shot import zero_shot

NO_LABELS = Method("TaI-DPT (no labels)", "TaIDPT")
WITHOUT_LABELS = (NO_LABELS, Method("TaI-DPT + concepts (no labels)", "TaIDPT", added="concepts"))
PARTIAL = (
    Method("DualCoOp", "DualCoOp", "local"),
    Method("DualCoOp + concepts", "DualCoOp", "local", "concepts"),
    Method("DualCoOp + TaI-DPT", "TaIDPTEnsemble"),
    Method("DualCoOp + TaI-DPT + concepts", "TaIDPTEnsemble", added="concepts"),
)
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
_NOT_EQUAL = (
    "on which images the published figures are measured (all, those with one of the classes, or "
    "a resampling) is stated nowhere that could be read, and its few-shot rows are of ten fixed "
    "draws: no row here is claimed to equal one of them"
)

# what a line's groups may differ in; the ensemble reads another run at each point
_PARTIAL_KEYS = ("DATASET.PARTIAL.PROPORTION", "TRAINER.TAIDPTENSEMBLE.IMAGE_RUN")
_FEW_SHOT_KEYS = ("DATASET.NUM_SHOTS", "TRAINER.TAIDPTENSEMBLE.IMAGE_RUN")
_CAPTION_KEYS = ("DATASET.CORPUS.MAX_CAPTIONS",)
_proportion, _shots, _captions = map(operator.attrgetter, ("proportion", "shots", "captions"))


def table1(groups: Sequence[Group], expected: int) -> list[Table]:
    """Methods by benchmarks, for what was learned from all captions."""
    groups = [g for g in tested(groups) if _plain(g)]
    tables = []
    for datasets in _side_by_side(groups):
        remarks: list[str] = []
        rows: list[Row] = []
        for method in (*ZERO_SHOT, *FROM_CAPTIONS):
            lines = {
                dataset: {line.variant: line for line in lines_of(groups, dataset, method)}
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
            rows += published_table1(method, datasets, groups, remarks)
        rows += of_other_papers(datasets, groups, remarks)
        alone = datasets[0] if len(datasets) == 1 else ""
        tables.append(Table("table 1", alone, "", tuple(datasets), tuple(rows), tuple(remarks)))
    return tables


def table2(groups: Sequence[Group], expected: int) -> list[Table]:
    """For each data set: methods by proportion of known labels, and the average."""
    groups = tested(groups)
    trained = [g for g in groups if _made_by(g, PARTIAL) and not g.first.shots]
    tables = []
    for dataset in datasets_of(trained):
        remarks: list[str] = []
        (benchmark,) = same_benchmarks(paper()["table2"]["backbone"], [dataset], trained, remarks)
        published = paper()["table2"].get(benchmark, {}) if benchmark else {}
        found = {g.first.proportion for g in trained if g.first.dataset == dataset}
        points = sorted(found | ({t / 10 for t in range(1, 10)} if published else set()))
        columns = (*(f"{100 * point:g}%" for point in points), "avg")
        rows = [
            line.level(len(columns), expected)
            for method in WITHOUT_LABELS
            for line in lines_of([g for g in groups if _all_captions(g)], dataset, method)
        ]
        theirs = {
            name: published_row(name, paper()["table2"]["columns"], values, columns)
            for name, values in published.items()
        }
        if "SARB" in theirs:
            rows.insert(0, theirs["SARB"])
        for method in PARTIAL:
            for line in lines_of(trained, dataset, method, _proportion, _PARTIAL_KEYS):
                rows.append(line.row(points, expected, average(line, points, expected)))
            rows += [theirs[name] for name in PUBLISHED_AS.get(method.name, ()) if name in theirs]
        if published:
            remarks.append("DualCoOp*: the paper's own run of DualCoOp")
        axis = "known labels"
        tables.append(Table("table 2", dataset, axis, columns, tuple(rows), tuple(remarks)))
    return tables


def table3(groups: Sequence[Group], expected: int) -> list[Table]:
    """COCO's 16 novel classes: runs on a data set labelled ``coco2014_novel``."""
    groups = [group for group in groups if group.first.split == "test"]
    shown = {g.first.shots for g in groups if g.first.dataset == NOVEL and g.first.shots}
    points = sorted({0, 1, 5} | shown)
    rows = [
        line.row(points, expected)
        for method in (*ZERO_SHOT, FROM_CAPTIONS[1], *FEW_SHOT)
        for line in lines_of(groups, NOVEL, method, _shots, (*_FEW_SHOT_KEYS, "images"))
    ]
    if not rows:
        return []
    columns = tuple(f"{shots}-shot" for shots in points)
    for key, whose in (("rows", PAPER), ("other_papers", " (published)")):
        for name, values in paper()["table3"][key].items():
            known = dict(zip(paper()["table3"]["columns"], values, strict=True))
            cells = tuple(single(known.get(column)) for column in columns)
            rows.append(Row(name + whose, cells, published=True))
    return [Table("table 3", NOVEL, "images per class", columns, tuple(rows), (_NOT_EQUAL,))]


def figure6(groups: Sequence[Group], expected: int) -> list[Table]:
    """For each data set: methods by labelled images per class."""
    groups = tested(groups)
    trained = [g for g in groups if _made_by(g, FEW_SHOT) and g.first.shots]
    tables = []
    for dataset in datasets_of(trained):
        points = sorted({g.first.shots for g in trained if g.first.dataset == dataset})
        rows = [
            line.level(len(points), expected)
            for line in lines_of([g for g in groups if _plain(g)], dataset, NO_LABELS)
        ]
        for method in FEW_SHOT:
            for line in lines_of(trained, dataset, method, _shots, _FEW_SHOT_KEYS):
                rows.append(line.row(points, expected))
        axis = "labelled images per class"
        tables.append(Table("figure 6", dataset, axis, tuple(map(str, points)), tuple(rows)))
    return tables


def figure7(groups: Sequence[Group], expected: int) -> list[Table]:
    """For each data set: methods by number of captions."""
    groups = tested(groups)
    trained = [g for g in groups if _made_by(g, FROM_CAPTIONS)]
    tables = []
    for dataset in datasets_of([g for g in trained if g.first.captions]):
        points = {g.first.captions for g in trained if g.first.dataset == dataset}
        ordered = sorted(points, key=lambda captions: captions or float("inf"))
        rows = [
            line.level(len(ordered), expected)
            for method in ZERO_SHOT
            for line in lines_of(groups, dataset, method)
        ]
        for method in FROM_CAPTIONS:
            for line in lines_of(trained, dataset, method, _captions, _CAPTION_KEYS):
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
    "table beyond": beyond,
    "table zero_shot": zero_shot,
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
            names = [run.dataset, run.trainer, place or difference_text(different), split]
            values = [tuple(group.values(prediction).values()) for prediction in predictions]
            cells = tuple(Cell(v, expected) if v else None for v in values)
            rows.append(Row(" ".join(filter(None, names)), cells, groups=(group,)))
    return Table("runs", "", "prediction", predictions, tuple(rows))


def expected_seeds(groups: Sequence[Group]) -> int:
    """The largest number of seeds that any group has."""
    return max((len(group.runs) for group in groups), default=1)


def nothing_for(kind: str) -> str:
    """What to say where no finished run belongs to ``kind`` ("": to anything)."""
    needed = {
        "table 1": "ZSCLIP or TaIDPT runs: bash scripts/table1.sh",
        "table 2": "DualCoOp runs on partial labels: bash scripts/table2.sh",
        "table 3": f"runs on a data set whose DATASET.LABEL is {NOVEL}",
        "figure 6": "MLCoOp runs with DATASET.NUM_SHOTS: bash scripts/figure6.sh",
        "table zero_shot": "runs on seen and unseen classes: bash scripts/zero_shot.sh",
        "table beyond": "runs of methods after the paper: bash scripts/beyond.sh",
        "figure 7": "TaIDPT runs with DATASET.CORPUS.MAX_CAPTIONS: bash scripts/figure7.sh",
    }
    if kind not in needed:
        return "no run is finished yet"
    return f"no finished run belongs to {kind}; it needs {needed[kind]}"


def _made_by(group: Group, methods: Iterable[Method]) -> bool:
    return group.first.trainer in {method.trainer for method in methods}


def _all_captions(group: Group) -> bool:
    """Learned from all captions, or from nothing; its scores are as they are."""
    run = group.first
    return run.trainer in ("ZSCLIP", "TaIDPT") and not run.captions and run.rectify == "none"


def _plain(group: Group) -> bool:
    """With nothing after the paper: table 1's setting."""
    return _all_captions(group) and not group.first.added


def _side_by_side(groups: Sequence[Group]) -> list[list[str]]:
    """Data sets that share a table: the paper's; every other one stands alone."""
    datasets = datasets_of(groups)
    together = [name for name in datasets if benchmark_name(name)]
    return ([together] if together else []) + [[n] for n in datasets if n not in together]
