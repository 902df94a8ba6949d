"""train.py: CoOp's flags, the merge order, the log its scripts read, one line for bad input."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import tai_dpt.toolbox
from tai_dpt.cli.train import main
from tai_dpt.errors import InputError
from tai_dpt.toolbox import DATASET_REGISTRY, EVALUATOR_REGISTRY, TRAINER_REGISTRY, EvaluatorBase
from tai_dpt.trainers.run import build_parser, make_cfg, run, setup_cfg

from places import ROOT
from taggers import run as command_line
from toolbox_toy import make_trainer

TRAIN_PY = ROOT / "train.py"


class FlagsToy(make_trainer(tai_dpt.toolbox)):  # type: ignore[misc]
    """The toy trainer, under a name that a config can ask for."""


class FlagsToyData:
    """A dataset's name; the toy trainer brings its own points."""


class FlagsToyEvaluator(EvaluatorBase):
    def __init__(self, cfg: Any, lab2cname: Mapping[int, str]) -> None:
        super().__init__(cfg)

    def reset(self) -> None:
        self.right = self.total = 0

    def process(self, mo: torch.Tensor, gt: torch.Tensor) -> None:
        self.right += int((mo.argmax(1) == gt).sum())
        self.total += len(gt)

    def evaluate(self) -> dict[str, float]:
        value = 100 * self.right / self.total
        print(f"=> result\n* mAP: {value:.2f}%")
        return {"mAP": value}


TRAINER_REGISTRY.register(FlagsToy)
DATASET_REGISTRY.register(FlagsToyData)
EVALUATOR_REGISTRY.register(FlagsToyEvaluator)

DATASET_YAML = """
DATASET: {NAME: FlagsToyData}
OPTIM: {LR: 0.5}
INPUT: {SIZE: "(64, 64)"}
"""
TRAINER_YAML = """
USE_CUDA: False
TEST: {EVALUATOR: FlagsToyEvaluator}
OPTIM: {NAME: sgd, LR: 0.1, MAX_EPOCH: 2, LR_SCHEDULER: cosine, WEIGHT_DECAY: 1e-5}
"""


@pytest.fixture
def flags(tmp_path: Path) -> list[str]:
    (tmp_path / "data.yaml").write_text(DATASET_YAML)
    (tmp_path / "toy.yaml").write_text(TRAINER_YAML)
    return [
        "--trainer=FlagsToy",
        f"--dataset-config-file={tmp_path / 'data.yaml'}",
        f"--config-file={tmp_path / 'toy.yaml'}",
        f"--output-dir={tmp_path / 'out' / 'seed1'}",
    ]


def config(argv: list[str]) -> Any:
    return setup_cfg(build_parser().parse_args(argv))


def test_later_settings_win(flags: list[str]) -> None:
    cfg = config(flags)
    assert cfg.INPUT.SIZE == (64, 64)  # dataset yaml, over the default
    assert cfg.OPTIM.LR == 0.1  # trainer yaml, over the dataset's
    assert cfg.OPTIM.WEIGHT_DECAY == 1e-5
    assert cfg.TRAINER.NAME == "FlagsToy"
    assert cfg.TRAINER.TAIDPT.N_CTX > 0  # from extend_cfg
    assert config([*flags, "TRAINER.NAME", "Other"]).TRAINER.NAME == "Other"
    assert config([*flags, "OPTIM.LR", "1", "OPTIM.STEPSIZE", "[3, 4]"]).OPTIM.STEPSIZE == (3, 4)
    assert config([*flags, "DATASET.NAME", "2007"]).DATASET.NAME == "2007"
    with pytest.raises(AttributeError):
        cfg.SEED = 5  # frozen


def test_every_flag_has_its_key(flags: list[str]) -> None:
    given = "--root r --resume s --seed 4 --backbone RN50 --head mlp --source-domains a b"
    more = "--target-domains c --transforms random_flip normalize --model-dir m --load-epoch 7"
    args = build_parser().parse_args(
        [*flags, *given.split(), *more.split(), "--eval-only", "--no-train", "SEED", "5"]
    )
    cfg = setup_cfg(args)
    assert (cfg.DATASET.ROOT, cfg.RESUME, cfg.SEED) == ("r", "s", 5)
    assert (cfg.MODEL.BACKBONE.NAME, cfg.MODEL.HEAD.NAME) == ("RN50", "mlp")
    assert list(cfg.DATASET.SOURCE_DOMAINS) == ["a", "b"]
    assert list(cfg.DATASET.TARGET_DOMAINS) == ["c"]
    assert list(cfg.INPUT.TRANSFORMS) == ["random_flip", "normalize"]
    assert (args.model_dir, args.load_epoch, args.eval_only, args.no_train) == ("m", 7, True, True)


@pytest.mark.parametrize(
    ("argv", "seed"), [([], -1), (["--seed", "0"], 0), (["--seed", "3"], 3), (["--seed=-1"], -1)]
)
def test_zero_is_a_seed(flags: list[str], argv: list[str], seed: int) -> None:
    assert seed == config([*flags, *argv]).SEED


def test_a_seed_makes_a_run_repeatable(flags: list[str], tmp_path: Path) -> None:
    runs = [
        run(config([*flags, "--seed", seed, f"--output-dir={tmp_path / name}"]))
        for name, seed in (("a", "0"), ("b", "0"), ("c", "1"))
    ]
    assert runs[0].losses == runs[1].losses != runs[2].losses


def parse_test_res(folder: Path, keyword: str, end_signal: str = "Finish training") -> float:
    """What CoOp's parse_test_res.py reads: the last match after the line ``end_signal``."""
    found, good_to_go = [], False
    for line in (folder / "log.txt").read_text().splitlines():
        good_to_go = good_to_go or line.strip() == end_signal
        match = re.search(rf"\* {keyword}: ([\.\deE+-]+)%", line)
        if match and good_to_go:
            found.append(float(match[1]))
    return found[-1]


def test_a_run_and_its_evaluation_as_coops_scripts_read_them(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sys.stdout
    assert main([*flags, "--seed", "1"]) == 0
    assert sys.stdout is before
    trained = tmp_path / "out" / "seed1"
    printed = capsys.readouterr().out
    assert (trained / "log.txt").read_text() == printed
    assert "Setting fixed seed: 1" in printed and "MAX_EPOCH: 2" in printed
    mean_ap = parse_test_res(trained, "mAP")

    again = tmp_path / "evaluation" / "seed1"
    argv = ["--eval-only", f"--model-dir={trained}", f"--output-dir={again}", "--load-epoch=2"]
    assert main([*flags, *argv]) == 0
    assert parse_test_res(again, "mAP", end_signal="=> result") == mean_ap
    assert main([*flags, "--no-train", f"--output-dir={tmp_path / 'none'}"]) == 0
    assert "Finish training" not in (tmp_path / "none" / "log.txt").read_text()


def test_a_run_from_python(flags: list[str], tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "dataset_config": tmp_path / "data.yaml",
        "config": tmp_path / "toy.yaml",
        "root": tmp_path,
        "seed": 0,
        "trainer": "FlagsToy",
    }
    cfg = make_cfg(output_dir=tmp_path / "a", opts=("OPTIM.MAX_EPOCH", 3), **settings)
    assert (0, 3, str(tmp_path)) == (cfg.SEED, cfg.OPTIM.MAX_EPOCH, cfg.DATASET.ROOT)
    steps: list[tuple[int, int, float]] = []
    trainer = run(cfg, watch=lambda *step: steps.append(step))
    assert trainer.epoch == 2
    assert [loss for _, _, loss in steps] == trainer.losses
    assert steps[-1][:2] == (len(trainer.losses), len(trainer.losses))
    loaded = run(
        make_cfg(output_dir=tmp_path / "b", **settings), eval_only=True, model_dir=tmp_path / "a"
    )
    assert torch.equal(loaded.model[1].weight, trainer.model[1].weight)
    assert run(make_cfg(output_dir=tmp_path / "c", **settings), no_train=True).losses == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["TRAINER.NAME", "FlagToy"], "'FlagToy'; did you mean 'FlagsToy'?"),
        (["DATASET.NAME", "FlagsToyDat"], "did you mean 'FlagsToyData'?"),
        (["TEST.EVALUATOR", "nothing"], "unknown evaluator"),
        (["OPTIM.LRR", "1"], "KEY VALUE options: unknown config key 'OPTIM.LRR'; did you mean"),
        (["TRAINER.TAIDTP.N_CTX", "8"], "unknown config key 'TRAINER.TAIDTP.N_CTX'"),
        (["OPTIM", "1"], "'OPTIM' is a section"),
        (["OPTIM.LR"], "options come in KEY VALUE pairs; 'OPTIM.LR' stands alone"),
        (["OPTIM.MAX_EPOCH", "ten"], "OPTIM.MAX_EPOCH takes a value of type int, not 'ten'"),
        (["OPTIM.LR_SCHEDULER", "cosin"], "did you mean 'cosine'?"),
        (["--eval-only", "--model-dir=nowhere"], "the folder nowhere/prompt_learner does not"),
        (["--resume=nowhere"], "nothing to resume: the folder nowhere does not exist"),
        (["TEST.FINAL_MODEL", "best"], "valid: last_step, best_val, best_test"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    flags: list[str], capsys: pytest.CaptureFixture[str], change: list[str], message: str
) -> None:
    before = sys.stdout
    assert main([*flags, *change]) == 2
    error = capsys.readouterr().err
    assert error.startswith("train.py: error: ")
    assert message in error
    assert error.count("\n") == 1
    assert sys.stdout is before


def test_a_flag_that_cannot_be_read_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "x"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("--seed: invalid int value: 'x' (train.py --help says more)")


def test_a_home_is_found_where_no_shell_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["--config-file=~/none.yaml"]) == 2
    assert f"no such file: {tmp_path / 'none.yaml'}" in capsys.readouterr().err


def test_each_door_is_called_by_its_own_name(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, error = command_line("train", "--trainer", "TaIDTP")
    assert (code, error.split(" error:")[0]) == (2, "tai-dpt train:")
    code, printed, _ = command_line("train", "--help")
    assert (code, printed.split(" [")[0]) == (0, "usage: tai-dpt train")
    with pytest.raises(SystemExit):
        main(["--help"])
    assert capsys.readouterr().out.startswith("usage: train.py ")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("to.yaml", None, "did you mean 'toy.yaml'? valid: data.yaml, toy.yaml"),
        ("bad.yaml", "A: [1", "bad.yaml: line 2: not valid YAML: did not find"),
        ("list.yaml", "- 1", "list.yaml is not a config"),
        ("key.yaml", "OPTIM: {LRS: 1}", "key.yaml: unknown config key 'OPTIM.LRS'"),
        ("type.yaml", "SEED: [1]", "type.yaml: SEED takes a value of type int, not [1]"),
        (
            "null.yaml",
            "MODEL: {BACKBONE: {NAME: null}}",
            "takes a value of type str, not null",
        ),
        ("long.yaml", f"OPTIM: {{LR: 0x{'f' * 400}}}", "OPTIM.LR takes a value of type float"),
    ],
)
def test_a_config_file_that_cannot_be_used(
    flags: list[str], tmp_path: Path, name: str, text: str | None, message: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as caught:
        config([*flags, f"--config-file={tmp_path / name}"])
    assert message in str(caught.value)


def test_an_output_folder_that_cannot_be_written(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main([*flags, f"--output-dir={tmp_path / 'file'}"]) == 2
    assert "choose another --output-dir" in capsys.readouterr().err


def test_a_wrong_name_leaves_no_folder_behind(flags: list[str], tmp_path: Path) -> None:
    assert main([*flags, "--trainer=Nobody"]) == 2
    assert not (tmp_path / "out").exists()


def test_an_unexpected_error_keeps_its_traceback(
    flags: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(FlagsToy, "forward_backward", fail)
    before = sys.stdout
    with pytest.raises(RuntimeError, match="a bug"):
        main(flags)
    assert sys.stdout is before


def test_the_script_answers_for_itself() -> None:
    done = subprocess.run(
        [sys.executable, str(TRAIN_PY), "--trainer", "TaIDTP"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "did you mean 'TaIDPT'?" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_script_can_be_imported() -> None:
    spec = importlib.util.spec_from_file_location("train", TRAIN_PY)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.main is main and module.setup_cfg is setup_cfg
