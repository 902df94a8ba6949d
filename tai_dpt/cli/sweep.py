"""The sweeps behind ``scripts/table1.sh`` and its like: ``python -m tai_dpt.cli.sweep``."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import click
import yaml

from tai_dpt.cli.command import Beside, Ended, command
from tai_dpt.cli.names import BENCHMARK
from tai_dpt.errors import InputError, first_few, unknown
from tai_dpt.io.console import answer, say
from tai_dpt.io.output import check_room
from tai_dpt.io.shipped import config_path, shipped_data
from tai_dpt.sweeps.driver import (
    FINISHED,
    Interrupted,
    run_all,
    runs_of_task,
    slurm_task,
    state_of,
)
from tai_dpt.sweeps.plans import PLANS
from tai_dpt.sweeps.runs import USUAL_RECIPE, Recipe, Run


def words(value: str | tuple[str, ...]) -> tuple[str, ...]:
    """An option's value: words between blanks or commas."""
    return value if isinstance(value, tuple) else tuple(re.split(r"[\s,]+", value))


def _option(name: str, **settings: Any) -> Callable[[Any], Any]:
    """An option that may also come from the environment, in capitals: ``JOBS=2``."""
    variable = name.removeprefix("--").replace("-", "_").upper()
    return click.option(name, envvar=variable, show_envvar=True, **settings)


# an option's value may be a negative number
@command(
    counts={
        "image_config": Beside("name", "table2", "table3", "figure6", "zero_shot"),
        "proportions": Beside("name", "table2"),
        "shots": Beside("name", "figure6", "table3"),
        "captions": Beside("name", "figure7"),
        "backbones": Beside("name", "beyond"),
    },
    ignore_unknown_options=True,
)
@click.argument("name", type=click.Choice(list(PLANS)), metavar="|".join(PLANS))
@click.argument("dataset", type=BENCHMARK)
@click.argument("extra", nargs=-1, metavar="[KEY VALUE]...")
@click.option("--dry-run", is_flag=True, help="List what would run, and how.")
@_option("--data", help="Folder the datasets are in; emoji_scenes has its own.")
@_option("--seeds", type=words, default="1 2 3", help="A run of each kind for every one.")
@_option("--jobs", type=click.IntRange(1), default=1, help="Runs at once.")
@_option("--out", type=click.Path(path_type=Path), default="output", help="Folder of all runs.")
@_option("--text-config", default="rn50", help="Config of ZSCLIP and TaIDPT.")
@_option(
    "--image-config",
    default="",
    show_default=False,
    help="Config of the others.  [default: rn101; figure6: rn50]",
)
@_option("--proportions", type=words, help="Of table2: known labels, above 0 to 1.")
@_option("--shots", type=words, help="Of figure6: labelled images of each class.")
@_option("--captions", type=words, help="Of figure7: number of captions; 0: all.")
@_option("--backbones", type=words, help="Of beyond: configs of TaIDPT.  [default: --text-config]")
@click.option("--only", multiple=True, metavar="PATTERN", help="Runs called so, and their needs.")
@_option("--train", help="The command that starts a run.  [default: tai-dpt train]")
def sweep(
    name: str,
    dataset: str,
    extra: tuple[str, ...],
    dry_run: bool,
    data: str | None,
    seeds: tuple[str, ...],
    jobs: int,
    out: Path,
    text_config: str,
    image_config: str,
    proportions: tuple[str, ...] | None,
    shots: tuple[str, ...] | None,
    captions: tuple[str, ...] | None,
    backbones: tuple[str, ...] | None,
    only: tuple[str, ...],
    train: str | None,
) -> Ended:
    """Run a table or a figure on DATASET, a yaml file of configs/datasets.

    \b
    Examples:
      tai-dpt sweep table1 voc2007 --data DATA
      tai-dpt sweep table2 coco2014_paper --data DATA --jobs 2 --dry-run

    Finished runs are skipped and unfinished ones resumed, so it can be stopped and started at
    will. Exit codes: 0 all finished, 1 some run failed, 2 wrong input, 130 interrupted.
    """
    dataset_config = dataset_file(dataset)
    recipe = recipe_of(
        dataset,
        seeds,
        out,
        text_config=text_config,
        image_config=image_config,
        proportions=proportions or (),
        shots=shots or (),
        captions=captions or (),
        backbones=backbones or (),
    )
    root = _data_root(dataset, data)
    launcher = [sys.executable, "-m", "tai_dpt", "train"] if train is None else _words(train)
    whole = PLANS[name](recipe)
    plan = _only(whole, only)
    _check_extra(extra, whole)  # a part of it is called as the whole is
    index, count = slurm_task(os.environ)
    runs = runs_of_task(plan, index, count)

    def command(run: Run) -> list[str]:
        if run.command != "train":
            made = ("--out", str(run.folder), "--overwrite")
            return [sys.executable, "-m", "tai_dpt", run.command, *run.words, *made]
        config = config_path("trainers", run.trainer, f"{run.config}.yaml")
        flags = {
            "--root": root,
            "--seed": run.seed,
            "--trainer": run.trainer,
            "--dataset-config-file": _short(dataset_config),
            "--config-file": _short(config),
            "--output-dir": run.folder,
        }
        given = [str(word) for pair in flags.items() for word in pair]
        return [*launcher, *given, *run.words, *run.options, *extra]

    if dry_run:
        return Ended({"runs": _list(runs, command, extra)}, 0)
    check_room(out)
    try:
        outcome = run_all(runs, command=command, extra=extra, jobs=jobs, say=say)
    except Interrupted as stop:
        click.echo(f"stopped by {stop}; the same command goes on from here", err=True)
        sys.exit(128 + stop.number)
    facts = {
        "finished": outcome.finished,
        "skipped": outcome.skipped,
        "failed": {str(run): why for run, why in outcome.failed.items()},
        "report": _report(name, out / dataset, seeds=len(recipe.seeds)),
    }
    if outcome.failed:
        click.echo(f"\n{len(outcome.failed)} of {len(runs)} runs failed:", err=True)
        for run, why in outcome.failed.items():
            click.echo(f"  {run}: {why}", err=True)
    return Ended(facts, 1 if outcome.failed else 0)


def recipe_of(dataset: str, seeds: Sequence[str], out: Path, **points: Any) -> Recipe:
    """What a plan on a data set is made for; ``points`` as ``Recipe`` takes them."""
    dataset_config = dataset_file(dataset)
    return Recipe(
        dataset=dataset,
        recipe=_recipe(dataset_config),
        published_coco=_is_published_coco(dataset_config),
        seeds=list(dict.fromkeys(map(_seed, seeds))),
        out=out,
        **points,
    )


def _only(plan: Sequence[Run], patterns: Sequence[str]) -> list[Run]:
    """The runs of a plan whose names match one of the patterns, and what they need."""
    chosen = {run for run in plan if any(fnmatchcase(str(run), p) for p in patterns or ("*",))}
    if not chosen:
        raise InputError(
            f"--only {patterns[0]}: no run is called so; there are "
            f"{first_few(plan, 4)} (--dry-run lists all)"
        )
    for run in reversed(plan):
        if run in chosen:
            chosen.update(run.needs)
    return [run for run in plan if run in chosen]


def _list(
    runs: Sequence[Run], command: Callable[[Run], list[str]], extra: Sequence[str]
) -> list[dict[str, Any]]:
    """Print what would be done about each run, and return it."""
    listed = []
    counts: dict[str, int] = {}
    for run in runs:
        state, why = state_of(run, extra)
        counts[state] = counts.get(state, 0) + 1
        answer(f"{state:9} {run}" + (f"  ({why})" if why else ""))
        if state != FINISHED:
            answer(f"          {shlex.join(command(run))}")
        told = {"run": str(run), "state": state, "why": why, "folder": run.folder}
        listed.append({**told, "command": command(run)})
    states = ", ".join(f"{state} {number}" for state, number in counts.items())
    answer(f"{len(runs)} runs: {states}; nothing was started")
    return listed


def _report(name: str, folder: Path, *, seeds: int) -> Any:
    """Print the table or figure, as ``tai-dpt report`` does; returns what that tells."""
    from tai_dpt.cli.report import report

    kind = "figure" if name.startswith("figure") else "table"
    number = name.removeprefix(kind)
    arguments = [str(folder), f"--{kind}", number, "--seeds", str(seeds)]
    options: dict[str, Any] = {kind: number, "seeds": seeds}
    if kind == "figure":
        options |= {"out": folder / f"{name}.png", "overwrite": True}
        arguments += ["--out", str(folder / f"{name}.png"), "--overwrite"]
    answer(f"$ tai-dpt report {shlex.join(arguments)}\n")
    try:
        return click.get_current_context().invoke(report, places=(str(folder),), **options)
    except InputError as error:  # nothing finished: the failures are what there is to tell
        say(f"no {kind} {number}: {error}")
        return None


def _seed(word: str) -> int:
    if not word.isdecimal() or len(word) > 10 or int(word) >= 2**32:
        raise InputError(f"SEEDS: '{word}' is not a seed, a whole number from 0 to {2**32 - 1}")
    return int(word)


def _data_root(dataset: str, data: str | None) -> str:
    if data is None and dataset == "emoji_scenes":
        return _short(shipped_data())
    if data is None:
        raise InputError(f"say where {dataset} lies: DATA=/path/to/datasets bash scripts/…")
    if not Path(data).is_dir():
        raise InputError(f"DATA: there is no folder {Path(data).absolute()}")
    return data


def dataset_file(dataset: str) -> Path:
    """The yaml file of a data set's name; InputError where there is none."""
    path = config_path("datasets", f"{dataset}.yaml")
    if not path.is_file():
        raise unknown("dataset", dataset, sorted(p.stem for p in path.parent.glob("*.yaml")))
    return path


def dataset_options(dataset_config: Path) -> dict[str, Any]:
    """What a dataset's yaml file sets under ``DATASET``."""
    content = yaml.safe_load(dataset_config.read_text(encoding="utf-8")) or {}
    return content.get("DATASET") or {}


def _is_published_coco(dataset_config: Path) -> bool:
    """Whether the data are COCO as the public code has it, and nobody chose otherwise of crowds."""
    options = dataset_options(dataset_config)
    return (
        options.get("NAME") == "CocoFormat"
        and (options.get("CORPUS") or {}).get("PRESET") == "paper"
        and "CROWD" not in (options.get("COCO") or {})
    )


def _recipe(dataset_config: Path) -> str:
    """The recipe that a dataset's yaml file names; the usual one, said openly, where none is."""
    if name := dataset_options(dataset_config).get("RECIPE"):
        return str(name)
    say(
        f"{dataset_config.name} names no recipe (DATASET.RECIPE): the one published for VOC2007 "
        "and COCO is run"
    )
    return USUAL_RECIPE


def _words(train: str) -> list[str]:
    try:
        found = shlex.split(train)
    except ValueError as error:
        raise InputError(f"--train {train} is no command line: {error}") from None
    if not found:
        raise InputError("--train is empty: give the command that starts a run, or leave it out")
    return found


def _check_extra(extra: Sequence[str], plan: Sequence[Run]) -> None:
    for key in extra[::2]:
        if not re.fullmatch(r"[A-Z][A-Z0-9_]*(\.[A-Z0-9_]+)*", key):
            raise InputError(f"'{key}' is neither an option of the sweep nor a KEY of the config")
    if len(extra) % 2:
        raise InputError(f"options come in KEY VALUE pairs; '{extra[-1]}' stands alone")
    if extra:
        import tai_dpt.trainers  # noqa: F401  (here: torch comes with it)
        from tai_dpt.trainers.config import default_config
        from tai_dpt.trainers.config_files import merge_pairs
        from tai_dpt.trainers.heeded import unheeded
        from tai_dpt.trainers.option_ranges import check_options

        cfg = default_config()
        merge_pairs(cfg, extra)
        check_options(cfg)
        trainers = [run.trainer for run in plan if run.command == "train"]
        for whom, keys in unheeded(extra[::2], trainers).items():
            raise InputError(
                f"{keys[0]} is for {whom}, and these runs are of "
                f"{', '.join(dict.fromkeys(trainers))}: leave it out"
            )
    own = {"SEED", "OUTPUT_DIR"}.union(*(run.options[::2] for run in plan))
    for key in extra[::2]:
        if key in own:
            raise InputError(f"{key} is set by the sweep itself")


def _short(path: Path) -> str:
    """``path``, relative to the current folder where it lies in it."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
