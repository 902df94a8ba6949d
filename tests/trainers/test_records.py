"""What a run leaves says what was run: folders are not written over, evaluations name a model."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from tai_dpt.cli.train import main
from tai_dpt.io.history import read_history
from tai_dpt.io.lock import alone_in
from tai_dpt.reports.runs import read_run
from tai_dpt.trainers.run import build_parser, run, setup_cfg

import worlds

SMALL = ("TRAINER.TAIDPT.N_CTX", 4, "TRAINER.DUALCOOP.N_CTX", 4)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return worlds.write_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def trained(world, tmp_path_factory):
    """A run of two epochs."""
    folder = tmp_path_factory.mktemp("runs") / "trained"
    assert start(world, folder) == 0
    return folder


@pytest.fixture
def copy(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "copy")


def start(world, output, *options, flags=(), trainer="TaIDPT", seed=1) -> int:
    arguments = worlds.arguments(world, trainer, output, *SMALL, *options, seed=seed)
    return main([*map(str, flags), *arguments])


def results(folder) -> dict:
    return json.loads((folder / "results.json").read_text())


# -- training ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"options": ("OPTIM.LR", 0.5)}, "OPTIM.LR: 0.0003 there, 0.5 here"),
        ({"options": ("OPTIM.MAX_EPOCH", 1)}, "OPTIM.MAX_EPOCH: 2 there, 1 here"),
        ({"seed": 2}, "SEED: 1 there, 2 here"),
        ({"trainer": "ZSCLIP"}, "TRAINER.NAME: TaIDPT there, ZSCLIP here"),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_a_run_with_other_options_is_not_written_over(
    world, copy, capsys, change, said, finished
) -> None:
    if not finished:
        (copy / "results.json").unlink()
    flags = {key: value for key, value in change.items() if key != "options"}
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    assert start(world, copy, *change.get("options", ()), **flags) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "conflict: " in error and said in error
    assert "--resume" in error and "--overwrite" in error
    assert {p: p.read_bytes() for p in copy.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("elsewhere", [False, True])
def test_more_epochs_than_are_asked_for_are_not_shown_as_these(
    world, copy, tmp_path, capsys, elsewhere
) -> None:
    """Where the checkpoint keeps no config, as version 0.1 wrote it, and from ``--resume``."""
    (copy / "results.json").unlink()
    for path in copy.glob("prompt_learner/model.pth.tar-*"):
        content = torch.load(path, weights_only=True)
        del content["config"]
        torch.save(content, path)
    out = tmp_path / "elsewhere" if elsewhere else copy
    flags = ("--resume", copy) if elsewhere else ()
    assert start(world, out, "OPTIM.MAX_EPOCH", 1, flags=flags) == 2
    said = f"{copy} holds a model of 2 epochs, and OPTIM.MAX_EPOCH is 1: choose another folder"
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert not (out / "results.json").exists()


@pytest.mark.parametrize("trainer", ["TaIDPT", "CoMC"])
def test_what_is_learned_serves_its_own_class_list(tmp_path, capsys, trainer) -> None:
    world, out = worlds.write_world(tmp_path, images=6), tmp_path / "run"
    assert start(world, out, trainer=trainer) == 0
    classes = world / "tiny/classes.yaml"
    *others, last = classes.read_text().splitlines()
    classes.write_text("\n".join([last, *others]))
    (out / "results.json").unlink()
    for flags in ((), ("--eval-only", "--model-dir", out)):
        assert start(world, out, trainer=trainer, flags=flags) == 2
        said = capsys.readouterr().err
        assert "another class list (6 classes there, 6 here; another order); use that list" in said


@pytest.mark.parametrize("there", [False, True])
def test_what_is_refused_leaves_nothing(world, tmp_path, there) -> None:
    out = tmp_path / "a/b"
    if there:
        out.mkdir(parents=True)
        (out / "notes.txt").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    assert start(world, out, "INPUT.SIZE", (7, 7)) == 2
    assert start(world, out, "RESUME", tmp_path / "nowhere") == 2
    assert sorted(tmp_path.rglob("*")) == before


def test_two_at_once_do_not_mix_in_one_folder(world, copy, capsys) -> None:
    def state(folder) -> dict:
        return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    before = state(copy)
    with alone_in(copy):
        for flags in ((), ("--overwrite",)):
            assert start(world, copy, flags=flags) == 2
            assert f"another process is at work in {copy}" in capsys.readouterr().err
        child = os.fork()
        if child == 0:  # a worker, which may outlive its parent
            os.kill(os.getpid(), signal.SIGSTOP)
            os._exit(0)
        os.waitpid(child, os.WUNTRACED)
    assert state(copy) == before
    with alone_in(copy) as alone:
        assert alone
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_a_run_without_images_to_test_on_is_refused_before_it_trains(
    world, tmp_path, capsys
) -> None:
    assert start(world, tmp_path / "run", "DATASET.COCO.TEST", ()) == 2
    assert "no test images to evaluate on; with TEST.NO_TEST True" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("cache", ["disk", "memory"])
def test_test_images_are_read_before_training(cache, tmp_path, capsys) -> None:
    world = worlds.write_world(tmp_path, images=6)
    (world / "tiny/test/000003.png").write_bytes(b"no image")
    out = tmp_path / "run"
    assert start(world, out, "FEATURES.CACHE", cache, "FEATURES.DIR", tmp_path / "features") == 2
    assert "000003.png" in capsys.readouterr().err
    assert not (out / "prompt_learner").exists()


@pytest.mark.parametrize("trainer", ["TaIDPT", "Concepts"])
def test_all_stores_of_a_run_are_weighed_before_one_is_made(
    world, tmp_path, capsys, monkeypatch, trainer
) -> None:
    folder, usage, free = tmp_path / "features", shutil.disk_usage(tmp_path), 0
    folder.mkdir()

    def disk_usage(path):
        return usage._replace(free=free) if Path(path) == folder else usage

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    options = ("FEATURES.CACHE", "disk", "FEATURES.DIR", folder)
    assert start(world, tmp_path / "run", *options, trainer=trainer) == 2
    said = capsys.readouterr().err
    parts = re.search(r"features \((\w+) ([\d.]+) kB, (\w+) ([\d.]+) kB\): ([\d.]+) kB", said)
    assert parts and {parts[1], parts[3]} == {"captions", "images"} and "FEATURES.CACHE" in said
    one, other, both = (float(parts[number]) * 1000 for number in (2, 4, 5))
    assert both == pytest.approx(one + other, abs=100)
    free = int(both - 100)
    assert start(world, tmp_path / "run", *options, trainer=trainer) == 2
    assert not list(folder.glob("*/shard-*")) and not (tmp_path / "run").exists()
    free = int(both + 100)
    assert start(world, tmp_path / "run", *options, trainer=trainer) == 0


def test_what_changes_no_figure_is_no_conflict(world, copy) -> None:
    old = results(copy)
    options = ("TRAIN.PRINT_FREQ", 1, "TEST.PREDICTION", "global", "TRAINER.MLCOOP.N_CTX", 3)
    assert start(world, copy, *options) == 0
    for kind, metrics in results(copy)["metrics"].items():
        assert metrics["mAP"] == old["metrics"][kind]["mAP"]
    assert len(read_history(copy)) == len({line["step"] for line in read_history(copy)})


def test_overwriting_trains_from_the_start(world, copy, trained, tmp_path) -> None:
    assert start(world, copy, "OPTIM.LR", 0.05, flags=["--overwrite"]) == 0
    assert start(world, tmp_path / "fresh", "OPTIM.LR", 0.05) == 0
    path = "prompt_learner/model.pth.tar-2"
    new, fresh, old = (
        torch.load(folder / path, weights_only=True)["state_dict"]["ctx_global"]
        for folder in (copy, tmp_path / "fresh", trained)
    )
    assert new.equal(fresh) and not new.equal(old)
    assert results(copy)["config"]["OPTIM"]["LR"] == 0.05


def test_resuming_goes_on_with_other_options_only_where_something_is_left(
    world, copy, capsys
) -> None:
    resume = ["--resume", copy]
    assert start(world, copy, "OPTIM.LR", 0.5, flags=resume) == 2
    assert "nothing is left to train" in capsys.readouterr().err
    assert start(world, copy, "OPTIM.MAX_EPOCH", 3, flags=resume) == 0
    assert results(copy)["epoch"] == 3
    steps = [(line["epoch"], line["step"]) for line in read_history(copy)]
    assert steps == [(e + 1, 17 * e + s) for e in range(3) for s in range(1, 18)]
    earlier = [{"until_epoch": 2, "OPTIM.MAX_EPOCH": 2}]
    assert results(copy)["earlier_options"] == earlier
    assert start(world, copy, "OPTIM.MAX_EPOCH", 3) == 0  # tested again
    assert results(copy)["earlier_options"] == earlier


# -- evaluating ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "epoch", "name"),
    [([], 2, "model.pth.tar-2"), (["--load-epoch", "1"], 1, "model.pth.tar-1")],
)
def test_an_evaluation_says_which_model(world, trained, tmp_path, flags, epoch, name) -> None:
    assert start(world, tmp_path, flags=["--eval-only", "--model-dir", trained, *flags]) == 0
    found = results(tmp_path)
    assert found["epoch"] == epoch
    assert found["checkpoint"] == (trained / "prompt_learner" / name).as_posix()
    assert results(trained)["epoch"] == 2
    assert results(trained)["checkpoint"] == "prompt_learner/model.pth.tar-2"


def test_an_evaluation_says_what_its_model_was_trained_with(world, trained, tmp_path) -> None:
    flags = ["--eval-only", "--model-dir", trained]
    options = ("OPTIM.LR", 0.5, "TRAINER.TAIDPT.SHARPNESS_IMAGE", 4)
    assert start(world, tmp_path, *options, flags=flags, seed=7) == 0
    found = results(tmp_path)
    assert found["trained_with"] == {"OPTIM.LR": 0.0003, "SEED": 1}
    assert found["seed"] == 1
    run = read_run(tmp_path, found)
    assert (run.options["OPTIM.LR"], run.options["TRAINER.TAIDPT.SHARPNESS_IMAGE"]) == (0.0003, 4)
    assert "trained_with" not in results(trained)


def test_prompts_are_evaluated_in_the_form_that_they_were_learned_in(
    world, trained, tmp_path, capsys
) -> None:
    options = ("TRAINER.TAIDPT.CLASS_TOKEN_POSITION", "middle")
    assert start(world, tmp_path, *options, flags=["--eval-only", "--model-dir", trained]) == 2
    assert "CLASS_TOKEN_POSITION end, and middle is asked for" in capsys.readouterr().err


def test_an_evaluation_of_untrained_prompts_says_so(world, tmp_path, capsys) -> None:
    assert start(world, tmp_path, flags=["--eval-only"]) == 0
    assert (results(tmp_path)["epoch"], results(tmp_path)["checkpoint"]) == (0, None)
    assert "the prompts are untrained" in capsys.readouterr().out


def test_an_evaluation_does_not_replace_a_trainings_record(world, copy, capsys) -> None:
    flags = ["--eval-only", "--model-dir", copy]
    before = results(copy)
    assert start(world, copy, flags=flags) == 0  # the same model: the same record
    assert results(copy)["checkpoint"] == before["checkpoint"]
    assert start(world, copy, flags=[*flags, "--load-epoch", 1]) == 2
    assert "epoch: 2 there, 1 here" in capsys.readouterr().err
    assert results(copy)["epoch"] == 2
    assert start(world, copy, flags=[*flags, "--load-epoch", 1, "--overwrite"]) == 0
    assert results(copy)["epoch"] == 1
    assert (copy / "prompt_learner/model.pth.tar-2").exists()


def test_zero_shot_has_no_epoch_and_a_file_can_be_evaluated(world, trained, tmp_path) -> None:
    assert start(world, tmp_path / "zero", trainer="ZSCLIP") == 0
    assert (results(tmp_path / "zero")["epoch"], results(tmp_path / "zero")["checkpoint"]) == (
        None,
        None,
    )
    path = trained / "prompt_learner/model.pth.tar-1"
    assert start(world, tmp_path / "file", flags=["--eval-only", "--model-dir", path]) == 0
    assert results(tmp_path / "file")["epoch"] == 1


@pytest.mark.parametrize(
    "flags", [["--load-epoch", "1"], ["--model-dir", "x"], ["--eval-only", "--load-epoch", "1"]]
)
def test_flags_that_would_do_nothing_are_refused(world, tmp_path, capsys, flags) -> None:
    assert start(world, tmp_path, flags=flags) == 2
    assert "--model-dir" in capsys.readouterr().err


def test_flags_after_the_options_are_one_line(world, tmp_path, capsys) -> None:
    argv = [*worlds.arguments(world, "ZSCLIP", tmp_path / "run"), "--eval-only"]
    assert main(argv) == 2
    assert "flags go before the first KEY VALUE pair: --eval-only" in capsys.readouterr().err


# -- what a run starts from ------------------------------------------------------------------------


def test_contexts_of_classes_in_another_order_go_to_their_names(world, tmp_path, capsys) -> None:
    options = ("TRAINER.TAIDPT.CSC", True, "OPTIM.LR", 0.05)
    assert start(world, tmp_path / "one", *options) == 0
    root = shutil.copytree(world, tmp_path / "root")
    lines = (root / "tiny/classes.yaml").read_text().splitlines()
    (root / "tiny/classes.yaml").write_text("\n".join(lines[::-1]))
    weights = tmp_path / "one/prompt_learner/model.pth.tar-2"
    options = (*options, "MODEL.INIT_WEIGHTS", weights)
    assert start(root, tmp_path / "two", *options, flags=["--eval-only"]) == 0
    one, two = results(tmp_path / "one"), results(tmp_path / "two")
    assert two["mAP"] == pytest.approx(one["mAP"], abs=1e-4)
    assert "the prompts are those of MODEL.INIT_WEIGHTS" in capsys.readouterr().out


def test_a_checkpoint_of_the_public_code_is_evaluated_and_started_from(
    world, trained, tmp_path, capsys
) -> None:
    state = torch.load(trained / "prompt_learner/model.pth.tar-2", weights_only=True)["state_dict"]
    contexts = [torch.nn.Parameter(state[name]) for name in ("ctx_global", "ctx_local")]
    optimizer = torch.optim.SGD(contexts, lr=0.1)
    after = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)
    public = {
        "state_dict": {
            "ctx": contexts[0],
            "ctx_double": contexts[1],
            **{name: torch.tensor(3.0) for name in ("temperature", "spatial_T", "ranking_scale")},
            "token_prefix": torch.zeros(4, 1, 64),
        },
        "epoch": 20,
        "optimizer": optimizer.state_dict(),
        "scheduler": {"successor": after, "last_epoch": 20},  # whole objects, as it pickles them
        "val_result": np.float64(88.1),
    }
    (tmp_path / "public/prompt_learner").mkdir(parents=True)
    path = tmp_path / "public/prompt_learner/model-best.pth.tar"
    torch.save(public, path)
    flags = ["--eval-only", "--model-dir", tmp_path / "public"]
    assert start(world, tmp_path / "evaluated", flags=flags, seed=2) == 0
    options = ("MODEL.INIT_WEIGHTS", path)
    assert start(world, tmp_path / "started", *options, flags=["--eval-only"], seed=2) == 0
    assert "the prompts are those of MODEL.INIT_WEIGHTS" in capsys.readouterr().out
    for folder in ("evaluated", "started"):
        assert results(tmp_path / folder)["metrics"] == results(trained)["metrics"]
    assert results(tmp_path / "evaluated")["epoch"] == 20


def test_weights_to_start_from_are_of_prompts(world, tmp_path, capsys) -> None:
    argv = worlds.arguments(world, "CoMC", tmp_path, "MODEL.INIT_WEIGHTS", tmp_path / "run")
    assert main(argv) == 2
    assert "those of prompts, and CoMC learns none" in capsys.readouterr().err


# -- divergence ----------------------------------------------------------------------------------


def test_training_that_diverges_ends_in_one_line_and_no_figure(world, tmp_path, capsys) -> None:
    options = ("OPTIM.LR", 100, "OPTIM.WEIGHT_DECAY", 100, "OPTIM.MAX_EPOCH", 4)
    assert start(world, tmp_path, *options) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len([line for line in error if "error: " in line]) == 1
    assert "training diverged: the loss is infinite or NaN at step" in error[-1]
    assert "lower OPTIM.LR (now 100)" in error[-1]
    assert not (tmp_path / "results.json").exists()


def test_a_checkpoint_that_is_not_finite_gives_no_figure(world, copy, tmp_path, capsys) -> None:
    path = copy / "prompt_learner/model.pth.tar-2"
    content = torch.load(path, weights_only=True)
    content["state_dict"]["ctx_local"].fill_(float("nan"))
    torch.save(content, path)
    assert start(world, tmp_path / "out", flags=["--eval-only", "--model-dir", copy]) == 2
    assert "no finite numbers" in capsys.readouterr().err
    assert not (tmp_path / "out/results.json").exists()


@pytest.mark.parametrize("key", ["epoch", "state_dict"])
def test_a_checkpoint_that_lacks_something_is_not_gone_on_from(world, copy, capsys, key) -> None:
    path = copy / "prompt_learner/model.pth.tar-2"
    content = torch.load(path, weights_only=True)
    del content[key]
    torch.save(content, path)
    more = ("OPTIM.MAX_EPOCH", 3)
    assert start(world, copy, *more, flags=["--resume", copy]) == 2
    assert f"tar-2 has no '{key}': training cannot go on from it" in capsys.readouterr().err


def test_a_quiet_run_prints_to_its_log_alone(world, tmp_path, capsys) -> None:
    argv = worlds.arguments(world, "ZSCLIP", tmp_path)
    run(setup_cfg(build_parser().parse_args(argv)), quiet=True)
    assert capsys.readouterr().out == ""
    assert "=> result" in (tmp_path / "log.txt").read_text()
