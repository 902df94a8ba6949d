"""The parts of the door that are the same on both toolboxes."""

from __future__ import annotations

import io
import os
import random
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from yacs.config import CfgNode

from tai_dpt.errors import InputError
from tai_dpt.toolbox import checkpoint as ckpt
from tai_dpt.toolbox import choice
from tai_dpt.toolbox.building import Builders
from tai_dpt.toolbox.embedded import get_cfg_default
from tai_dpt.toolbox.embedded.optimizer import build_optimizer
from tai_dpt.toolbox.embedded.registry import Registry
from tai_dpt.toolbox.environment import collect_env_info, set_random_seed
from tai_dpt.toolbox.logger import Tee, logging_to, setup_logger
from tai_dpt.toolbox.schedule import Schedule, build_lr_scheduler

# -- which toolbox -------------------------------------------------------------------------------


def test_the_choice_can_be_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAI_DPT_TOOLBOX", "embedded")
    assert choice.choose_toolbox() == "embedded"
    for installed, expected in ((True, "dassl"), (False, "embedded")):
        monkeypatch.setattr(choice, "dassl_is_installed", lambda installed=installed: installed)
        monkeypatch.setenv("TAI_DPT_TOOLBOX", "")
        assert choice.choose_toolbox() == expected
    monkeypatch.setenv("TAI_DPT_TOOLBOX", "dassl")
    with pytest.raises(InputError, match=r"dassl cannot be imported: run 'pip install -e \.'"):
        choice.choose_toolbox()
    monkeypatch.setenv("TAI_DPT_TOOLBOX", "Dasl")
    with pytest.raises(InputError, match=r"'Dasl'; did you mean 'dassl'\? valid: dassl, embedded"):
        choice.choose_toolbox()


def test_a_folder_called_dassl_is_not_the_toolbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dassl").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "dassl", raising=False)
    monkeypatch.delitem(sys.modules, "dassl.engine", raising=False)
    assert not choice.dassl_is_installed()


def test_an_unknown_name_is_answered_with_the_registered_ones() -> None:
    trainers = Registry("TRAINER")

    @trainers.register()
    class TaIDPT:
        def __init__(self, cfg: CfgNode) -> None:
            self.cfg = cfg

    builders = Builders(trainers=trainers, datasets=Registry("D"), evaluators=Registry("E"))
    cfg = get_cfg_default()
    cfg.VERBOSE = False
    with pytest.raises(InputError, match=r"no trainer given: set TRAINER\.NAME; valid: TaIDPT"):
        builders.build_trainer(cfg)
    cfg.TRAINER.NAME = "TaiDTP"
    with pytest.raises(InputError, match=r"'TaiDTP'; did you mean 'TaIDPT'\? valid: TaIDPT"):
        builders.build_trainer(cfg)
    cfg.TRAINER.NAME = "TaIDPT"
    assert builders.build_trainer(cfg).cfg is cfg


# -- schedules -------------------------------------------------------------------------------------


def scheduler(*opts: Any) -> tuple[torch.optim.Optimizer, Any]:
    cfg = get_cfg_default().OPTIM
    cfg.merge_from_list(["LR", 1.0, "NAME", "sgd", "MAX_EPOCH", 4, *opts])
    optimizer = build_optimizer([nn.Parameter(torch.zeros(1))], cfg)
    return optimizer, build_lr_scheduler(optimizer, cfg)


def rates(*opts: Any, epochs: int = 5) -> list[float]:
    optimizer, schedule = scheduler(*opts)
    found = []
    for _ in range(epochs):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


CONSTANT = ("WARMUP_EPOCH", 1, "WARMUP_TYPE", "constant", "WARMUP_CONS_LR", 0.01)
LINEAR = ("WARMUP_EPOCH", 3, "WARMUP_TYPE", "linear", "WARMUP_MIN_LR", 0.01)


@pytest.mark.parametrize(
    ("opts", "expected"),
    [
        (("LR_SCHEDULER", "cosine"), [1, 0.8535534, 0.5, 0.1464466, 0]),
        (("LR_SCHEDULER", "cosine", *CONSTANT), [0.01, 1, 0.8535534, 0.5, 0.1464466]),
        (
            ("LR_SCHEDULER", "cosine", *CONSTANT, "WARMUP_RECOUNT", False),
            [0.01, 1, 0.5 / 0.8535534, 0.1464466 / 0.8535534, 0],
        ),
        (("LR_SCHEDULER", "cosine", *LINEAR), [0.01, 1 / 3, 2 / 3, 1, 0.8535534]),
        (("LR_SCHEDULER", "single_step", "STEPSIZE", (2,)), [1, 1, 0.1, 0.1, 0.01]),
        (("LR_SCHEDULER", "single_step"), [1, 1, 1, 1, 0.1]),
        (("LR_SCHEDULER", "multi_step", "STEPSIZE", (1, 3)), [1, 0.1, 0.1, 0.01, 0.01]),
        (("LR_SCHEDULER", "multi_step", "STEPSIZE", (1, 3), *CONSTANT), [0.01, 1, 0.1, 0.1, 0.01]),
    ],
)
def test_rates_by_epoch(opts: tuple, expected: list[float]) -> None:
    assert rates(*opts) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (("LR_SCHEDULER", "cosin"), "'cosin'; did you mean 'cosine'"),
        (("WARMUP_EPOCH", 1, "WARMUP_TYPE", "const"), "valid: constant, linear"),
        (("LR_SCHEDULER", "multi_step", "STEPSIZE", (0.5,)), "takes whole numbers of epochs"),
        (("MAX_EPOCH", 0), "must be 1 or more"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(opts: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        scheduler(*opts)


@given(
    decay=st.sampled_from(["steps", "cosine"]),
    warmup=st.sampled_from(["constant", "linear"]),
    warmup_epochs=st.integers(0, 5),
    recount=st.booleans(),
    stop=st.integers(0, 12),
    steps=st.lists(st.integers(0, 12), max_size=3),
)
def test_a_reloaded_schedule_goes_on_exactly(
    decay: Any, warmup: Any, warmup_epochs: int, recount: bool, stop: int, steps: list[int]
) -> None:
    from tai_dpt.toolbox.schedule import EpochScheduler

    settings = Schedule(
        decay=decay,
        max_epoch=13,
        milestones=tuple(sorted(steps)),
        gamma=0.5,
        warmup=warmup,
        warmup_epochs=warmup_epochs,
        warmup_rate=1e-5,
        recount=recount,
    )

    def fresh() -> tuple[torch.optim.Optimizer, EpochScheduler]:
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
        return optimizer, EpochScheduler(optimizer, schedule=settings)

    optimizer, whole = fresh()
    optimizer.step()
    for _ in range(stop):
        whole.step()
    buffer = io.BytesIO()
    torch.save(whole.state_dict(), buffer)
    buffer.seek(0)
    other, resumed = fresh()
    resumed.load_state_dict(torch.load(buffer, weights_only=True))
    other.step()
    for _ in range(stop, 13):
        assert other.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
        assert resumed.get_last_lr() == whole.get_last_lr()
        whole.step()
        resumed.step()


# -- optimizers ------------------------------------------------------------------------------------


def test_an_optimizer_that_cannot_be_is_refused() -> None:
    cfg = get_cfg_default().OPTIM
    model = nn.ModuleDict({"base": nn.Linear(1, 1), "head": nn.Linear(1, 1)})
    cfg.NAME = "adan"
    with pytest.raises(InputError, match="'adan'; did you mean 'adam'"):
        build_optimizer(model, cfg)
    cfg.merge_from_list(["NAME", "sgd", "STAGED_LR", True])
    with pytest.raises(InputError, match=r"STAGED_LR .* needs stock Dassl"):
        build_optimizer(model, cfg)


# -- checkpoints -----------------------------------------------------------------------------------


def test_values_are_made_plain_and_views_small(tmp_path: Path) -> None:
    view = torch.zeros(1000, 1000)[:1, :2]
    state = {
        "state_dict": {"module.ctx": view},
        "epoch": 3,
        "val_result": np.float64(65.1),
        "scores": np.arange(3),
    }
    ckpt.save_checkpoint(state, tmp_path, is_best=True)
    assert sorted(os.listdir(tmp_path)) == ["checkpoint", "model-best.pth.tar", "model.pth.tar-3"]
    assert (tmp_path / "model.pth.tar-3").stat().st_size < 10_000
    content = ckpt.load_checkpoint(tmp_path / "model-best.pth.tar")
    assert content["state_dict"].keys() == {"ctx"}
    assert type(content["val_result"]) is float
    assert content["scores"].tolist() == [0, 1, 2]
    assert ckpt.latest_checkpoint(tmp_path) == tmp_path / "model.pth.tar-3"
    assert state["state_dict"].keys() == {"module.ctx"}  # the caller's is untouched


def test_what_a_safe_load_would_refuse_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"'scheduler\.successor' is a Linear"):
        ckpt.save_checkpoint(
            {"state_dict": {}, "epoch": 1, "scheduler": {"successor": nn.Linear(1, 1)}}, tmp_path
        )
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write a checkpoint to .*file"):
        ckpt.save_checkpoint({"state_dict": {}, "epoch": 1}, tmp_path / "file" / "model")


def test_a_failed_write_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ckpt.save_checkpoint({"state_dict": {"a": torch.ones(1)}, "epoch": 1}, tmp_path)

    def full(_content: Any, stream: Any) -> None:
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(InputError, match="No space left on device"):
        ckpt.save_checkpoint({"state_dict": {"a": torch.zeros(1)}, "epoch": 1}, tmp_path)
    assert ckpt.load_checkpoint(tmp_path / "model.pth.tar-1")["state_dict"]["a"].item() == 1
    assert sorted(os.listdir(tmp_path)) == ["checkpoint", "model.pth.tar-1"]


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_broken_checkpoint_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "model.pth.tar-1"
    if content is None:
        torch.save({"state_dict": {"a": torch.ones(5000)}}, path)
        content = path.read_bytes()[:2000]
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"model\.pth\.tar-1 cannot be read as a checkpoint"):
        ckpt.load_checkpoint(path)


def saved(folder: Path, *epochs: int) -> None:
    for epoch in epochs:
        ckpt.save_checkpoint({"state_dict": {"a": torch.ones(500)}, "epoch": epoch}, folder)


@pytest.mark.parametrize("seed", range(20))
def test_a_flipped_bit_is_found_or_harmless(tmp_path: Path, seed: int) -> None:
    saved(tmp_path, 1)
    path = tmp_path / "model.pth.tar-1"
    content = bytearray(path.read_bytes())
    place = int(np.random.default_rng(seed).integers(len(content) * 8))
    content[place // 8] ^= 1 << place % 8
    path.write_bytes(content)
    try:
        loaded = ckpt.load_checkpoint(path)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert torch.equal(loaded["state_dict"]["a"], torch.ones(500)) and loaded["epoch"] == 1


def test_a_damaged_latest_checkpoint_offers_the_newest_whole_one(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2, 3, 4)
    for epoch in (3, 4):
        path = tmp_path / f"model.pth.tar-{epoch}"
        path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(InputError, match=r"model\.pth\.tar-2 beside it is whole: remove model"):
        ckpt.load_checkpoint(tmp_path / "model.pth.tar-4")
    (tmp_path / "model.pth.tar-4").unlink()
    assert ckpt.latest_checkpoint(tmp_path) == tmp_path / "model.pth.tar-2"
    for text in ("", "\n", "../elsewhere\n"):
        (tmp_path / "checkpoint").write_text(text)
        assert ckpt.latest_checkpoint(tmp_path) == tmp_path / "model.pth.tar-2"
    (tmp_path / "model.pth.tar-1").unlink()
    (tmp_path / "model.pth.tar-2").unlink()
    for name in ("", "x" * 5000):
        (tmp_path / "checkpoint").write_text(name)
        with pytest.raises(InputError, match="remove it to start anew"):
            ckpt.latest_checkpoint(tmp_path)


def test_a_checkpoint_of_another_form_is_named(tmp_path: Path) -> None:
    for content, message in (
        ({"state_dict": 5}, "its epoch, its result or its weights are something else"),
        ({"state_dict": {}, "epoch": "3"}, "its epoch, its result or its weights are"),
        ({"state_dict": {}, "val_result": "x"}, "its epoch, its result or its weights are"),
        ({"state_dict": {"a": torch.tensor([torch.nan])}}, "'a' in it holds values that are no"),
        ({"state_dict": {"a": None}}, "'a' in it is null, not a tensor"),
        ([1, 2], "holds a list, not a checkpoint's dictionary"),
    ):
        torch.save(content, tmp_path / "c")
        with pytest.raises(InputError, match=message):
            ckpt.load_checkpoint(tmp_path / "c")
    with pytest.raises(InputError, match=r"c has no 'state_dict'; it holds: 1$"):
        ckpt.load_weights({1: torch.ones(1)}, path="c", model=nn.Linear(1, 1))
    for states in ({}, {"python": 5}, {**ckpt.generator_states(), "torch": torch.zeros(3)}):
        with pytest.raises(InputError, match="c: its random generators cannot be set"):
            ckpt.set_generator_states(states, path="c")


class Successor:
    """Something pickled whole, as Dassl's warm-up schedulers are."""

    loaded = False

    def __setstate__(self, state: dict[str, Any]) -> None:
        Successor.loaded = True


def dassl_checkpoint(path: Path) -> None:
    successor = Successor()
    successor.rate = 0.1  # type: ignore[attr-defined]
    successor.optimizer = torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=0.1)  # type: ignore[attr-defined]
    state = OrderedDict(ctx=torch.arange(6.0).view(2, 3), token_prefix=torch.zeros(1))
    content = {
        "state_dict": state,
        "epoch": 20,
        "optimizer": {"state": {}, "param_groups": []},
        "scheduler": {"successor": successor, "warmup_epoch": 1},
        "val_result": np.float64(72.4),
    }
    torch.save(content, path)


def test_a_checkpoint_of_stock_dassl_loads_without_running_its_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.pth.tar-20"
    dassl_checkpoint(path)
    content = ckpt.load_checkpoint(path)
    assert not Successor.loaded
    assert content["epoch"] == 20
    assert content["state_dict"]["ctx"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert "scheduler" not in content
    assert "left out scheduler, val_result" in capsys.readouterr().out


def test_training_cannot_go_on_without_a_schedule_to_read(tmp_path: Path) -> None:
    dassl_checkpoint(tmp_path / "model.pth.tar-20")
    (tmp_path / "checkpoint").write_text("model.pth.tar-20\n")
    model = nn.Module()
    model.register_parameter("ctx", nn.Parameter(torch.zeros(2, 3)))
    model.register_buffer("token_prefix", torch.zeros(1))
    assert ckpt.resume_from_checkpoint(tmp_path, model) == 20
    assert model.ctx.sum() == 15
    with pytest.raises(InputError, match="holds no scheduler state that can be read"):
        ckpt.resume_from_checkpoint(tmp_path, model, None, scheduler()[1])
    with pytest.raises(InputError, match="no checkpoint in"):
        ckpt.resume_from_checkpoint(tmp_path / "nowhere", model)


def draws() -> tuple[float, float, float]:
    return random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002


def test_random_generators_go_on_where_they_were() -> None:
    set_random_seed(0)
    states = ckpt.generator_states()
    ckpt.to_plain(states, where="generators")
    first = draws()
    ckpt.set_generator_states(states, path="c")
    assert draws() == first
    set_random_seed(0)
    assert draws() == first


# -- log and environment -------------------------------------------------------------------------


def test_everything_printed_is_in_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sys.stdout
    with logging_to(tmp_path / "run"):
        print("* mAP: 65.10%")
        # written at once: a run that is killed leaves its log
        assert (tmp_path / "run" / "log.txt").read_text() == "* mAP: 65.10%\n"
    assert sys.stdout is before
    print("not logged")
    assert (tmp_path / "run" / "log.txt").read_text() == "* mAP: 65.10%\n"
    assert capsys.readouterr().out == "* mAP: 65.10%\nnot logged\n"


def test_a_log_takes_names_that_are_no_text(tmp_path: Path) -> None:
    with logging_to(tmp_path, echo=False):
        print(os.fsdecode(b"caf\xe9"))
    assert (tmp_path / "log.txt").read_text() == "caf\\udce9\n"


def test_a_second_log_gets_the_time_as_a_suffix(tmp_path: Path) -> None:
    for number in range(3):
        with logging_to(tmp_path):
            print(number)
    logs = {path.read_text(): path.name for path in tmp_path.iterdir()}
    assert logs["0\n"] == "log.txt"
    assert logs["1\n"].startswith("log.txt-20")
    assert len(logs) == 3


def test_the_log_is_given_back_after_an_error(tmp_path: Path) -> None:
    before = sys.stdout
    with pytest.raises(ZeroDivisionError), logging_to(tmp_path):
        raise ZeroDivisionError
    assert sys.stdout is before


def test_a_log_file_can_be_named_and_none_asked_for(tmp_path: Path) -> None:
    before = sys.stdout
    tee = setup_logger(tmp_path / "x.log")
    assert tee is not None and sys.stdout is tee
    print("to the file")
    tee.close()
    assert sys.stdout is before
    assert (tmp_path / "x.log").read_text() == "to the file\n"
    assert setup_logger(None) is None and setup_logger("") is None


def test_an_output_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write the log .*log\.txt .*--output-dir"):
        setup_logger(tmp_path / "file" / "run")


def test_the_environment_is_told_in_a_few_lines() -> None:
    lines = collect_env_info().splitlines()
    assert len(lines) < 12
    assert f"torch {torch.__version__.split('+')[0]}" in "\n".join(lines)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_log_without_room_gives_stdout_back(monkeypatch: pytest.MonkeyPatch) -> None:
    console = sys.stdout
    tee = Tee(console, open("/dev/full", "w"))  # noqa: SIM115
    monkeypatch.setattr(sys, "stdout", tee)
    print("something")
    with pytest.raises(OSError, match="No space left"):
        tee.close()
    assert sys.stdout is console
    tee.flush()
