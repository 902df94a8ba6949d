"""The sweep driver: order, skipping, resuming, failures, several at once, shares."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tai_dpt.cli.main import cli
from tai_dpt.cli.report import report
from tai_dpt.cli.sweep import sweep
from tai_dpt.errors import InputError
from tai_dpt.sweeps.driver import (
    FINISHED,
    NEW,
    OTHER,
    STALE,
    UNFINISHED,
    options_text,
    runs_of_task,
    slurm_task,
    state_of,
)
from tai_dpt.sweeps.plans import PLANS
from tai_dpt.sweeps.runs import Recipe, choose_config

from fake_runs import write_run, write_scores
from places import TESTS

FAKE = f"{sys.executable} {TESTS / 'support/fake_trainer.py'}"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    names = (
        "DATA SEEDS JOBS OUT TEXT_CONFIG IMAGE_CONFIG PROPORTIONS SHOTS CAPTIONS BACKBONES TRAIN"
    )
    for name in names.split():
        monkeypatch.delenv(name, raising=False)
    for name in [name for name in os.environ if name.startswith("SLURM_ARRAY")]:
        monkeypatch.delenv(name)


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., Result]:
    """Runs a sweep on emoji_scenes with the fake trainer."""

    def call(name: str, *words: str, **environment: str) -> Result:
        arguments = [name, "emoji_scenes", "--out", str(tmp_path), "--train", FAKE, *words]
        return CliRunner().invoke(sweep, arguments, env=environment)

    return call


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def table_rows(result: Result) -> set[str]:
    return {" ".join(line.split()) for line in result.output.splitlines()}


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_a_sweep_runs_all_then_prints_its_table(
    start: Callable[..., Result], tmp_path: Path
) -> None:
    result = start("table1")
    assert result.exit_code == 0, result.output
    assert {"TaI-DPT 72.0 ± 1.0", "ZSCLIP + DPT 71.0"} <= table_rows(result)
    assert "(paper)" not in result.output
    folders = sorted(str(p.parent.relative_to(tmp_path)) for p in tmp_path.rglob("results.json"))
    assert folders == [
        *(f"emoji_scenes/TaIDPT/emoji_scenes/default/seed{seed}" for seed in (1, 2, 3)),
        "emoji_scenes/ZSCLIP/emoji_scenes/default/seed1",
    ]


def test_finished_runs_are_skipped_and_broken_ones_made_again(
    start: Callable[..., Result], tmp_path: Path
) -> None:
    start("table1", SEEDS="1 2")
    first, second = (
        tmp_path / f"emoji_scenes/TaIDPT/emoji_scenes/default/seed{seed}" for seed in (1, 2)
    )
    before = (first / "console.txt").read_text()
    (second / "results.json").write_text('{"trainer": "TaI')
    result = start("table1", SEEDS="1 2")
    assert result.exit_code == 0
    assert "skipped  TaIDPT/emoji_scenes/default/seed1: finished before" in result.output
    assert "resume   TaIDPT/emoji_scenes/default/seed2" in result.output
    assert (first / "console.txt").read_text() == before
    assert (second / "console.txt").read_text().count("from epoch") == 2
    assert "TaI-DPT 71.5 ± 0.7" in table_rows(result)


def test_several_at_once(start: Callable[..., Result]) -> None:
    result = start("table1", JOBS="2", FAKE_EPOCH_SECONDS="0.05")
    assert result.exit_code == 0
    lines = [line for line in result.output.splitlines() if "start" in line or "finished" in line]
    assert ["start" in line for line in lines[:2]] == [True, True]
    assert len(lines) == 8


def test_a_failing_run_is_told_at_the_end_and_the_others_go_on(
    start: Callable[..., Result], tmp_path: Path
) -> None:
    result = start("table1", FAKE_FAIL="TaIDPT/emoji_scenes/default/seed2")
    assert result.exit_code == 1
    end = result.output.splitlines()[-2:]
    assert end[0] == "1 of 4 runs failed:"
    console = tmp_path / "emoji_scenes/TaIDPT/emoji_scenes/default/seed2/console.txt"
    assert "exit code 1: RuntimeError: out of memory" in end[1] and f"see {console}" in end[1]
    assert "72.0 ± 1.4 (n=2)" in result.output
    assert "Traceback" in console.read_text()
    assert start("table1").exit_code == 0  # it was not the end of it


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_interrupted_it_ends_its_run_and_goes_on_from_there(
    start: Callable[..., Result], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    folder = tmp_path / "emoji_scenes/TaIDPT/emoji_scenes/default/seed1"
    process = subprocess.Popen(
        [sys.executable, "-m", "tai_dpt", "sweep", "table1", "emoji_scenes"],
        env={**os.environ, "OUT": str(tmp_path), "TRAIN": FAKE, "FAKE_EPOCH_SECONDS": "0.4"},
        stderr=subprocess.PIPE,
        text=True,
    )
    checkpoint = folder / "prompt_learner" / "checkpoint"
    wait_for(lambda: checkpoint.exists() and checkpoint.read_text() == "2")
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == code
    assert f"stopped by {number.name}; the same command goes on from here" in errors
    assert not alive(int((folder / "pid").read_text()))
    assert not (folder / "results.json").exists()

    result = start("table1")
    assert result.exit_code == 0
    assert "skipped  ZSCLIP/emoji_scenes/default/seed1" in result.output
    assert "from epoch 3" in (folder / "console.txt").read_text()
    assert "72.0 ± 1.0" in result.output


def test_a_run_whose_sweep_was_killed_is_waited_for(
    start: Callable[..., Result], tmp_path: Path
) -> None:
    folder = tmp_path / "emoji_scenes/ZSCLIP/emoji_scenes/default/seed1"
    process = subprocess.Popen(
        [sys.executable, "-m", "tai_dpt", "sweep", "table1", "emoji_scenes"],
        env={**os.environ, "OUT": str(tmp_path), "TRAIN": FAKE, "FAKE_EPOCH_SECONDS": "1"},
        stderr=subprocess.DEVNULL,
    )
    wait_for(lambda: (folder / "pid").exists() and (folder / "pid").read_text() != "")
    process.kill()
    process.wait()
    result = start("table1", SEEDS="1", JOBS="2")
    assert result.exit_code == 0
    assert "waiting  ZSCLIP/emoji_scenes/default/seed1: another process" in result.output
    assert "skipped  ZSCLIP/emoji_scenes/default/seed1: finished before" in result.output
    assert (folder / "console.txt").read_text().count("from epoch") == 1


def test_other_options_are_never_mixed_in(start: Callable[..., Result], tmp_path: Path) -> None:
    assert start("table1", "OPTIM.LR", "0.1", SEEDS="1").exit_code == 0
    result = start("table1", SEEDS="1")
    assert result.exit_code == 1
    assert "holds a run with other options (OPTIM.LR 0.1; asked for: the usual ones)" in (
        result.output
    )
    assert "conflict" in start("table1", "--dry-run", SEEDS="1").output
    # a run that failed before its first checkpoint binds nobody
    failed = start("table1", "OPTIM.LRR", "1", SEEDS="2", FAKE_FAIL="TaIDPT")
    assert failed.exit_code == 1
    again = start("table1", SEEDS="2")
    assert "finished TaIDPT/emoji_scenes/default/seed2" in again.output


def test_dry_run_starts_nothing(start: Callable[..., Result], tmp_path: Path) -> None:
    result = start("figure7", "--dry-run", "OPTIM.MAX_EPOCH", "3", SEEDS="5", CAPTIONS="10,0")
    assert result.exit_code == 0
    assert not list(tmp_path.iterdir())
    lines = result.output.splitlines()
    assert lines[0] == "run       ZSCLIP/emoji_scenes/default/seed5"
    assert lines[3].endswith("seed5 DATASET.CORPUS.MAX_CAPTIONS 10 OPTIM.MAX_EPOCH 3")
    assert lines[-1] == "3 runs: run 3; nothing was started"


def recipe(out: Path, dataset: str = "emoji_scenes", seeds: tuple[int, ...] = (1, 2)) -> Recipe:
    return Recipe(dataset=dataset, seeds=seeds, out=out)


def test_an_ensemble_comes_after_what_it_reads_and_again_when_that_is_newer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tai_dpt.sweeps.runs.choose_config", lambda *_: "tiny")
    runs = PLANS["table2"](recipe(tmp_path))
    for position, run in enumerate(runs):
        assert set(run.needs) <= set(runs[:position])
    assert len(runs) == 2 * (2 + 4 * 3)
    assert len({run.folder for run in runs}) == len(runs)
    text, _, image, both, image_beside, both_beside = runs[:6]
    assert image_beside.words == ("--eval-only", "--model-dir", str(image.folder))
    assert image_beside.options == (*image.options, "TRAINER.DUALCOOP.CONCEPTS", "True")
    assert both_beside.needs == (runs[1], image_beside)
    assert both.needs == (text, image)
    options = dict(zip(both.options[::2], both.options[1::2], strict=True))
    assert options["TRAINER.TAIDPTENSEMBLE.IMAGE_RUN"] == str(image.folder)
    assert options["DATASET.PARTIAL.PROPORTION"] == "0.1"

    assert state_of(both)[0] == NEW
    files = [write_run(run.folder) for run in (text, image, both)]
    for age, file in enumerate(files):
        os.utime(file, (1000 + age, 1000 + age))
    assert state_of(both)[0] == FINISHED
    os.utime(files[0], (2000, 2000))
    assert state_of(both) == (STALE, "TaIDPT/tiny/default/seed1 is newer")
    files[1].write_text("{}")
    assert state_of(image)[0] == UNFINISHED
    write_run(image.folder)
    (image.folder / "options.txt").write_text("DATASET.PARTIAL.PROPORTION 0.3\n")
    assert state_of(image)[0] == OTHER


def test_beyond_makes_what_chance_does_not_touch_once_and_a_backbone_is_an_option(
    tmp_path: Path,
) -> None:
    asked = Recipe(
        dataset="voc2007", seeds=(1, 2), out=tmp_path, backbones=("vit_b16", "siglip_b16")
    )
    runs = PLANS["beyond"](asked)
    assert len({run.folder for run in runs}) == len(runs)
    for position, run in enumerate(runs):
        assert set(run.needs) <= set(runs[:position])
    named = {str(run): run for run in runs}
    assert "Concepts/rn50/vit_b16/seed1" in named and "Concepts/rn50/vit_b16/seed2" not in named
    piaa = named["PIAA/rn50/vit_b16_voc2007/seed1"]
    assert piaa.options == (
        *("MODEL.BACKBONE.NAME", "ViT-B/16"),
        *("TRAINER.PIAA.SETTING", "voc2007"),
    )
    assert not [name for name in named if name.startswith("PIAA") and "siglip" in name]
    fusion = named["Fusion/vit_b16/all_standardised/seed2"]
    assert {need.seed for need in fusion.needs if need.trainer in ("TaIDPT", "CoMC")} == {2}
    rescored = named["CoMC/rn50/vit_b16_standardised/seed2"]
    assert rescored.needs == (named["CoMC/rn50/vit_b16/seed2"],)
    assert "rescore CoMC/rn50/vit_b16/seed2 --rectify standardise" in options_text(rescored)
    with pytest.raises(InputError, match="unknown config of TaIDPT 'vit_b61'; did you mean"):
        PLANS["beyond"](replace(asked, backbones=("vit_b61",)))
    with pytest.raises(InputError, match="unknown config of TaIDPT ''; valid: "):
        PLANS["beyond"](replace(asked, backbones=("",)))
    small = replace(asked, dataset="emoji_scenes", recipe="emoji_scenes", backbones=("rn50",))
    with pytest.raises(InputError, match="runs on emoji_scenes take the config emoji_scenes alone"):
        PLANS["beyond"](small)


def test_what_is_derived_is_refused_as_an_option_of_all_runs(start: Callable[..., Result]) -> None:
    result = start("beyond", "TEST.RECTIFY", "centre")
    assert "TEST.RECTIFY is set by the sweep itself" in str(result.exception)


def test_the_commands_of_derived_runs_make_the_runs_that_the_table_reads(
    start: Callable[..., Result], tmp_path: Path
) -> None:
    """Of each command that ``--dry-run`` lists, the trainings' in their place by the fake."""
    lines = start("beyond", "--dry-run", SEEDS="2").output.splitlines()
    for command in (shlex.split(line) for line in lines if line.startswith("  ")):
        if "--out" not in command:
            flags = dict(pairwise(command))
            folder = Path(flags["--output-dir"])
            concepts = {"TRAINER__TAIDPT__CONCEPTS": True} if "--model-dir" in flags else {}
            template = flags.get("TRAINER.ZSCLIP.TEMPLATE", "a photo of a {}.")
            options = {**concepts, "TRAINER__ZSCLIP__TEMPLATE": template}
            names = {"trainer": flags["--trainer"], "dataset": "emoji_scenes"}
            write_run(folder, **names, images=20, seed=int(flags["--seed"]), **options)
            write_scores(folder)
        else:
            words = command[command.index("tai_dpt") + 1 :]
            result = CliRunner().invoke(cli, words)
            assert result.exit_code == 0, result.output
    assert not [line for line in lines if line.startswith("skip")]
    again = start("beyond", "--dry-run", SEEDS="2").output
    assert again.splitlines()[-1] == "20 runs: skip 20; nothing was started"
    table = CliRunner().invoke(report, [str(tmp_path), "--table", "beyond"]).output
    shown = [" ".join(line.split()) for line in table.splitlines()]
    assert "method plain standardise" in shown and len(shown) == 18
    assert all(len(line.split()) > 2 for line in shown if line.startswith("Fusion of Concepts"))


@pytest.mark.parametrize("name", ["table1", "table2", "figure6", "figure7"])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_shares_are_the_whole(
    name: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tai_dpt.sweeps.runs.choose_config", lambda *_: "tiny")
    runs = PLANS[name](recipe(tmp_path))
    shares = [runs_of_task(runs, index, count) for index in range(count)]
    assert {run for share in shares for run in share} == set(runs)
    for share in shares:
        for position, run in enumerate(share):
            assert set(run.needs) <= set(share[:position])
    needed = {need for run in runs for need in run.needs}
    ends = [run for share in shares for run in share if run not in needed]
    assert len(ends) == len(set(ends))


def test_table_3_is_of_its_data_set_alone(tmp_path: Path) -> None:
    runs = PLANS["table3"](recipe(tmp_path, "coco2014_novel", seeds=(1,)))
    halves = [str(run) for run in runs[: len(runs) // 2]]
    assert "MLCoOp/rn50/shots5/seed1" in halves and "ZSCLIP/rn50/default/seed1" in halves
    again = [name.replace("/seed1", "_any_positive/seed1") for name in halves]
    assert [str(run) for run in runs[len(halves) :]] == again
    with pytest.raises(InputError, match="table 3 is of the data set coco2014_novel, not of voc"):
        PLANS["table3"](recipe(tmp_path, "voc2007"))


def test_the_share_of_a_slurm_task() -> None:
    array = {"SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "4"}
    array["SLURM_ARRAY_TASK_COUNT"] = "4"
    assert slurm_task({}) == (0, 1)
    assert slurm_task({**array, "SLURM_ARRAY_TASK_ID": "3"}) == (2, 4)
    with pytest.raises(InputError, match=r"use consecutive ids \(--array=1-3\)"):
        slurm_task({**array, "SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "3"})


def test_a_slurm_task_runs_its_share(start: Callable[..., Result], tmp_path: Path) -> None:
    array = {"SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_MAX": "1"}
    array["SLURM_ARRAY_TASK_COUNT"] = "2"
    result = start("table1", **array, SLURM_ARRAY_TASK_ID="1")
    assert result.exit_code == 0
    made = {path.parent.parent.parent.parent.name for path in tmp_path.rglob("results.json")}
    assert made == {"TaIDPT"}
    start("table1", **array, SLURM_ARRAY_TASK_ID="0")
    assert len(list(tmp_path.rglob("results.json"))) == 4


def test_the_recipe_fits_the_data_set() -> None:
    assert choose_config("TaIDPT", ["rn50"], "nuswide") == "rn50_nuswide"
    assert choose_config("TaIDPT", ["rn50"], "voc2007_coco2014") == "rn50"
    assert choose_config("MLCoOp", ["rn50"], "nuswide") == "rn50_nuswide"
    assert choose_config("TaIDPT", ["rn50"], "emoji_scenes") == "emoji_scenes"
    assert choose_config("ZSCLIP", ["none", "rn50"], "nuswide") == "rn50"
    with pytest.raises(InputError, match="unknown config of TaIDPT 'rn5'; did you mean 'rn50'"):
        choose_config("TaIDPT", ["rn5"], "voc2007_coco2014")
    with pytest.raises(InputError, match="unknown config of TaIDPT 'rn50_food'"):
        choose_config("TaIDPT", ["rn50"], "food")


def dry_run(name: str, dataset: str, folder: Path) -> Result:
    words = [name, dataset, "--dry-run", "--data", str(folder), "--out", str(folder / "out")]
    return CliRunner().invoke(sweep, words)


@pytest.mark.parametrize("name", [name for name in PLANS if name != "table3"])
@pytest.mark.parametrize("dataset", ["nuswide", "nuswide_paper"])
def test_every_sweep_takes_the_recipe_that_the_data_set_names(
    tmp_path: Path, name: str, dataset: str
) -> None:
    result = dry_run(name, dataset, tmp_path)
    assert result.exit_code == 0, result.output
    for trainer in ("TaIDPT", "DualCoOp", "MLCoOp"):
        used = set(re.findall(rf"trainers/{trainer}/(\w+)\.yaml", result.output))
        assert all(stem.endswith("_nuswide") for stem in used), used
    assert "trainers/TaIDPT/rn50_nuswide.yaml" in result.output
    assert "names no recipe" not in result.output


@pytest.mark.parametrize("name, crowds", [("table1", False), ("table2", True)])
def test_published_coco_leaves_crowds_out_of_table_2_alone(
    tmp_path: Path, name: str, crowds: bool
) -> None:
    """One labelling for all runs of a table: an ensemble fuses scores of the same labels."""
    lines = [
        each
        for each in dry_run(name, "coco2014_paper", tmp_path).output.splitlines()
        if "--trainer" in each
    ]
    assert len(lines) > 1 and {"DATASET.COCO.CROWD paper" in line for line in lines} == {crowds}
    for other in ("coco2014", "voc2007_paper"):
        assert "COCO.CROWD" not in dry_run("table2", other, tmp_path).output


def test_a_data_set_without_a_recipe_says_so(tmp_path: Path) -> None:
    result = dry_run("table1", "own_data", tmp_path)
    assert "own_data.yaml names no recipe (DATASET.RECIPE)" in result.output
    assert "trainers/TaIDPT/rn50.yaml" in result.output


@pytest.mark.parametrize(
    ("words", "environment", "message"),
    [
        (["OPTIM.LR"], {}, "options come in KEY VALUE pairs; 'OPTIM.LR' stands alone"),
        (["--dryrun"], {}, "'--dryrun' is neither an option of the sweep nor a KEY"),
        (["SEED", "2"], {}, "SEED is set by the sweep itself"),
        (["OPTIM.FOO", "2"], {}, "unknown config key 'OPTIM.FOO'"),
        (["OPTIM.LR", "-1"], {}, "OPTIM.LR is -1.0; valid: at least 0"),
        ([], {"SEEDS": "1 two"}, "SEEDS: 'two' is not a seed"),
        (["--seeds", ""], {}, "SEEDS: '' is not a seed"),
        ([], {"DATA": "/no/where"}, "DATA: there is no folder /no/where"),
    ],
)
def test_bad_input_is_one_clear_line(
    start: Callable[..., Result], words: list[str], environment: dict[str, str], message: str
) -> None:
    result = start("table1", *words, **environment)
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)


@pytest.mark.parametrize(
    ("name", "points", "message"),
    [
        ("table2", {"PROPORTIONS": "0"}, "PROPORTIONS: '0' is out of range"),
        ("table2", {"PROPORTIONS": "1.1"}, "above 0, at most 1"),
        ("table2", {"PROPORTIONS": "half"}, "'half' is not a number"),
        ("figure6", {"SHOTS": "0"}, "SHOTS: '0' is out of range; 1 or more"),
        ("figure7", {"CAPTIONS": "-5"}, "CAPTIONS: '-5' is out of range; 0 (all) or more"),
    ],
)
def test_bad_points_are_named(
    start: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    points: dict[str, str],
    message: str,
) -> None:
    monkeypatch.setattr("tai_dpt.sweeps.runs.choose_config", lambda *_: "tiny")
    result = start(name, **points)
    assert message in str(result.exception)
