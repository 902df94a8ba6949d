"""Several processes train the prompts that one trains, and leave what one leaves."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tai_dpt import distributed
from tai_dpt.cli.train import main
from tai_dpt.errors import InputError
from tai_dpt.scoring.results import ScoreTable

import worlds
from places import ROOT

# Six captions in batches of four: the second has fewer samples than three processes.
OPTIONS = (
    *("DATASET.CORPUS.TEMPLATES", "False", "DATALOADER.TRAIN_X.BATCH_SIZE", 4),
    *("DATALOADER.TEST.BATCH_SIZE", 5, "OPTIM.LR", 0.01, "TEST.FINAL_MODEL", "best_val"),
    *("FEATURES.CACHE", "disk", "FEATURES.PRECISION", "fp32"),
)
TAI = ("TRAINER.TAIDPT.N_CTX", 4)
# three of the six classes a step, the same ones on every process
DRAWN = (*TAI, "TRAINER.TAIDPT.CLASSES_PER_STEP", 3, "TRAINER.TAIDPT.CSC", True)
DUAL = ("TRAINER.DUALCOOP.N_CTX", 4, "INPUT.TRANSFORMS", "('normalize',)")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return worlds.write_world(tmp_path_factory.mktemp("world"))


def command_line(world: Path, output: Path, trainer: str, *options: object) -> list[str]:
    cache = output.with_name(output.name + "-cache")
    return worlds.arguments(
        world, trainer, output, *OPTIONS, "FEATURES.DIR", cache, *options, seed=3
    )


def torchrun(processes: int, arguments: list[str], scratch: Path) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of ``torchrun train.py``."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    ended = subprocess.run(
        [*launcher, f"--nproc_per_node={processes}", str(ROOT / "train.py"), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        timeout=300,
    )
    return ended.returncode, ended.stdout, ended.stderr


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def forks(processes: int, arguments: list[str], scratch: Path) -> tuple[int, str, str]:
    """The same without the seconds that a new interpreter takes: forks of this one."""
    meeting = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1"}
    meeting |= {"MASTER_PORT": free_port(), "CUDA_VISIBLE_DEVICES": ""}
    children = []
    for rank in range(processes):
        child = os.fork()
        if child == 0:
            code = 70
            signal.alarm(300)
            try:
                for number, name in ((1, "stdout"), (2, "stderr")):
                    os.dup2(os.open(scratch / name, os.O_CREAT | os.O_WRONLY | os.O_APPEND), number)
                sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
                sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
                os.environ |= {**meeting, "RANK": str(rank), "LOCAL_RANK": str(rank)}
                code = main(arguments)
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    return max(codes, key=abs), *((scratch / n).read_text() for n in ("stdout", "stderr"))


def prompts(output: Path) -> dict[str, torch.Tensor]:
    path = output / "prompt_learner/model.pth.tar-2"
    state = torch.load(path, weights_only=True)["state_dict"]
    return {name: value for name, value in state.items() if torch.is_tensor(value)}


@pytest.mark.parametrize(
    ("start", "processes", "trainer", "options"),
    [
        (torchrun, 2, "TaIDPT", TAI),
        (forks, 3, "TaIDPT", TAI),
        (forks, 2, "TaIDPT", DRAWN),
        (forks, 2, "DualCoOp", DUAL),
    ],
)
def test_many_processes_equal_one(world, tmp_path, start, processes, trainer, options):
    assert main(command_line(world, tmp_path / "one", trainer, *options)) == 0
    arguments = command_line(world, tmp_path / "many", trainer, *options)
    code, out, err = start(processes, arguments, tmp_path)
    assert code == 0, err
    one, several = prompts(tmp_path / "one"), prompts(tmp_path / "many")
    assert one.keys() == several.keys()
    for name, value in one.items():
        torch.testing.assert_close(several[name], value, rtol=0, atol=1e-5)
    tables = [ScoreTable.load(tmp_path / name / "scores.npz") for name in ("one", "many")]
    assert tables[1].ids == tables[0].ids
    np.testing.assert_allclose(tables[1].merged, tables[0].merged, atol=1e-4)
    files = [
        sorted(str(p.relative_to(tmp_path / name)) for p in (tmp_path / name).rglob("*"))
        for name in ("one", "many")
    ]
    without_events = [[f for f in listed if "events" not in f] for listed in files]
    assert without_events[1] == without_events[0]
    logs = [(tmp_path / name / "log.txt").read_text() for name in ("one", "many")]
    assert logs[1].count("=> result") == logs[0].count("=> result")
    assert out.count("=> result") == logs[0].count("=> result")


def test_bad_input_ends_all_processes(world, tmp_path):
    code, _, err = forks(2, command_line(world, tmp_path / "out", "TaIDTP"), tmp_path)
    assert code == 2
    assert "did you mean 'TaIDPT'" in err


DIES = """
import os, signal
from tai_dpt import distributed
from tai_dpt.cli.exits import exit_code

distributed.setup(cuda=False)
distributed.barrier()
if distributed.rank() == 1:
    os.kill(os.getpid(), signal.SIGKILL)
os._exit(exit_code("train.py", distributed.barrier))
"""


def test_a_process_that_dies_ends_the_others_with_one_line():
    meeting = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    first, second = (
        subprocess.Popen(
            [sys.executable, "-c", DIES],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **meeting, "RANK": str(rank)},
        )
        for rank in range(2)
    )
    _, said = first.communicate(timeout=100)
    assert second.wait(timeout=10) == -signal.SIGKILL
    assert first.returncode == 1
    (line,) = [line for line in said.splitlines() if line.startswith("train.py: ")]
    assert "another of the 2 processes has ended, so rank 0 ends, too" in line
    assert "Traceback" not in said
    second.communicate()


def test_alone_nothing_is_done():
    distributed.setup(cuda=True)
    assert (distributed.rank(), distributed.world()) == (0, 1)
    assert distributed.is_main()
    distributed.barrier()
    value = torch.ones(2, 3, 4)
    assert distributed.gather("value") == ["value"]
    assert distributed.gather_classes(value, [3]) is value
    assert distributed.weighted_sum({"loss": torch.tensor(2.0)}, 1.0) == {"loss": 2.0}


def test_a_world_size_that_no_launcher_set_means_nothing(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    distributed.setup(cuda=False)
    assert distributed.world() == 1
    said = capsys.readouterr().err
    assert "WORLD_SIZE is 4 in the environment, without RANK, MASTER_ADDR, MASTER_PORT" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("rank", "port", "message"),
    [("4", "1", "ranks go from 0"), ("0", "x", "cannot meet at localhost:x")],
)
def test_processes_that_cannot_meet_are_told_in_one_line(rank, port, message, monkeypatch):
    settings = {"WORLD_SIZE": "2", "RANK": rank, "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=message):
        distributed.setup(cuda=False)
