"""``tai-dpt reproduce``: a table of the paper, run and held to its figures."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tai_dpt.cli.command import Ended, command
from tai_dpt.cli.get_data import get_data
from tai_dpt.cli.names import BENCHMARK
from tai_dpt.cli.sweep import dataset_file, dataset_options, recipe_of, sweep, words
from tai_dpt.errors import InputError, unknown
from tai_dpt.io.console import answer, say
from tai_dpt.io.shipped import SHIPPED
from tai_dpt.sweeps.plans import PLANS

if TYPE_CHECKING:
    from tai_dpt.reports.verdicts import Targets
    from tai_dpt.sweeps.runs import Run

NOT_WITHIN = 1  # exit code
_SWEEPS = {
    "table1": ("table1",),
    "table2": ("table2",),
    "table3": ("table3",),
    "figures": ("figure6", "figure7"),
}
_LABELLED = {"VOC2007": "voc2007", "NUSWIDE": "nuswide", "CocoFormat": "coco2014"}


@command(ignore_unknown_options=True)
@click.argument("what", type=click.Choice(list(_SWEEPS)), metavar="|".join(_SWEEPS))
@click.argument("benchmark", type=BENCHMARK)
@click.argument("extra", nargs=-1, metavar="[KEY VALUE]...")
@click.option(
    "--root", "--data", "root", envvar="DATA", type=click.Path(path_type=Path), help="Data folder."
)
@click.option("--get-data", "may_fetch", is_flag=True, help="Fetch what is missing of the data.")
@click.option("--method", "methods", multiple=True, help="This row of the table alone.")
@click.option("--seeds", type=words, default="1 2 3", help="A run of each kind for every one.")
@click.option("--jobs", type=click.IntRange(1), default=1, help="Runs at once.")
@click.option(
    "--out", type=click.Path(path_type=Path), default="output", help="The folder of all runs."
)
@click.option("--dry-run", is_flag=True, help="Say what would run.")
@click.pass_context
def reproduce(
    ctx: click.Context,
    what: str,
    benchmark: str,
    extra: tuple[str, ...],
    root: Path | None,
    may_fetch: bool,
    methods: tuple[str, ...],
    seeds: tuple[str, ...],
    jobs: int,
    out: Path,
    dry_run: bool,
) -> Ended:
    """Run a table of the paper on BENCHMARK, and hold each cell to the paper's.

    \b
    Examples:
      tai-dpt reproduce table1 voc2007 --root DATA --get-data
      tai-dpt reproduce table2 coco2014_paper --root DATA --jobs 2
      tai-dpt reproduce table3 coco2014_novel --root DATA
      tai-dpt reproduce table1 emoji_scenes --method ZSCLIP

    BENCHMARK is a yaml file of configs/datasets. Its data are checked, and fetched
    where you agree. emoji_scenes, which ships, is held to this project's own record;
    figures are run and drawn, but the paper prints no numbers of them. What was
    finished is not run again. KEY VALUE pairs go to every run.

    Exit codes: 0 every cell is within 1.0 mAP of its figure; 1 one is not, or a run
    failed; 2 wrong input; 130 interrupted.
    """
    from tai_dpt.reports.verdicts import targets_of

    recipe = recipe_of(benchmark, seeds, out)
    plans = {name: PLANS[name](recipe) for name in _SWEEPS[what]}
    targets = _chosen(targets_of(what, benchmark), methods)
    if not targets and what != "figures":
        raise InputError(f"no figure of {what} is printed for {benchmark}: nothing to hold it to")
    if targets:
        plans = {name: _runs_for(targets, plan) for name, plan in plans.items()}
    needed = {need for plan in plans.values() for run in plan for need in (run, *run.needs)}
    if benchmark != SHIPPED and not dry_run:
        labelled = any(run.trainer not in ("ZSCLIP", "TaIDPT") for run in needed)
        _see_to_data(ctx, benchmark, root, test_images_only=not labelled, may_fetch=may_fetch)
    code, facts = 0, {}
    for name, plan in plans.items():
        ended = ctx.invoke(
            sweep,
            name=name,
            dataset=benchmark,
            extra=extra,
            dry_run=dry_run,
            data=None if root is None else str(root),
            seeds=tuple(map(str, recipe.seeds)),
            jobs=jobs,
            out=out,
            only=tuple(map(str, plan)) if targets else (),
        )
        code, facts[name] = code or ended.code, ended.facts
    if dry_run or not targets:
        if not dry_run:
            say("the paper plots these and prints no numbers: there is nothing to hold them to")
        return Ended(facts, code)
    folders = [run.folder for plan in plans.values() for run in plan]
    remarks = []
    if extra:
        remarks.append(f"run with {' '.join(extra)}: not the recipe that the figures are of")
    if len(recipe.seeds) == 1 and any(
        run.trainer != "ZSCLIP" for plan in plans.values() for run in plan
    ):
        remarks.append("run with one seed, not the usual three: how far seeds lie apart is unknown")
    return _held_to(
        *(targets, what, benchmark, folders), seeds=len(recipe.seeds), code=code, remarks=remarks
    )


def _chosen(targets: Targets, methods: Sequence[str]) -> Targets:
    """The targets of some methods."""
    known = list(dict.fromkeys(method for method, _ in targets))
    for method in methods:
        if method not in known:
            raise unknown("method", method, known)
    return {place: value for place, value in targets.items() if not methods or place[0] in methods}


def _runs_for(targets: Targets, plan: Sequence[Run]) -> list[Run]:
    """The runs that the targets are about, as the paper has them: nothing added, nothing derived
    from stored scores."""
    from tai_dpt.reports.rows import FROM_CAPTIONS, ZERO_SHOT
    from tai_dpt.reports.tables import NO_LABELS, PARTIAL

    known = (*ZERO_SHOT, *FROM_CAPTIONS, NO_LABELS, *PARTIAL)
    wanted = {method for method, _ in targets}
    trainers = {method.trainer for method in known if method.name in wanted}
    derived = {run for run in plan if run.words}
    return [
        run
        for run in plan
        if run.trainer in trainers and run not in derived and derived.isdisjoint(run.needs)
    ]


def _see_to_data(
    ctx: click.Context,
    benchmark: str,
    root: Path | None,
    *,
    test_images_only: bool,
    may_fetch: bool,
) -> None:
    """Have the benchmark's images and captions below ``root``; what only its authors give is left
    to the run, which says what it lacks."""
    from tai_dpt.datasets.inventory import CHECKS
    from tai_dpt.datasets.sources import read_sources

    if root is None:
        raise InputError(f"say where {benchmark} lies, or is to: --root DATA")
    options = dataset_options(dataset_file(benchmark))
    files = (options.get("CORPUS") or {}).get("FILES") or []
    found = {name: check(root) for name, check in CHECKS.items()}
    needed = [
        name
        for name, parts in found.items()
        if name == _LABELLED.get(str(options.get("NAME")))
        or any(part.path in files for part in parts)
    ]
    missing = [
        name
        for name in needed
        if read_sources()[name].files
        and not all(p.complete or (test_images_only and p.training) for p in found[name])
    ]
    if not missing:
        return
    flags = f"--root {root}{' --test-images-only' if test_images_only else ''}"
    line = f"tai-dpt get-data {' '.join(missing)} {flags}"
    if not may_fetch and not (
        sys.stdin.isatty()
        and click.confirm(f"not all there: {', '.join(missing)}. Fetch?", err=True)
    ):
        raise InputError(
            f"not all of {', '.join(missing)} is below {root}: '{line}', or add --get-data; "
            "--dry-run there says how much that is"
        )
    say(f"$ {line}")
    ended = ctx.invoke(
        get_data, datasets=tuple(missing), root=root, test_images_only=test_images_only
    )
    if ended.code:
        raise InputError(f"{', '.join(missing)}: still not complete below {root}, see above")


def _held_to(
    targets: Targets,
    what: str,
    benchmark: str,
    folders: Sequence[Path],
    *,
    seeds: int,
    code: int,
    remarks: list[str],
) -> Ended:
    from tai_dpt.reports.published import benchmark_of
    from tai_dpt.reports.runs import find_runs, group_runs
    from tai_dpt.reports.tables import TABLES
    from tai_dpt.reports.verdicts import render_verdicts, verdicts

    runs, _ = find_runs(map(str, folders))
    groups, _ = group_runs(runs)
    found = verdicts(TABLES[f"table {what.removeprefix('table')}"](groups, seeds), targets)
    held_to = "recorded" if benchmark == SHIPPED else "paper"
    answer(f"\n{benchmark}, {what}: ours against the {held_to} figures\n")
    answer(render_verdicts(found, held_to=held_to))
    if benchmark != SHIPPED and benchmark_of(benchmark, groups, remarks) is None:
        code = NOT_WITHIN  # whatever the figures say
    for remark in remarks:
        answer(f"\n{remark}")
    facts: dict[str, Any] = {"benchmark": benchmark, "what": what, "held_to": held_to}
    facts["remarks"] = remarks
    facts["cells"] = [verdict.facts() for verdict in found]
    return Ended(facts, code or (0 if all(v.within for v in found) else NOT_WITHIN))
