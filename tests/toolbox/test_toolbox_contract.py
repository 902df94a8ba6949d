"""One contract, two toolboxes: the embedded one and stock Dassl behind the door.

The stock side is skipped where ``dassl`` cannot be imported. To run it:

    PYTHONPATH=/path/to/Dassl.pytorch pytest tests/test_toolbox_contract.py
"""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn
from yacs.config import CfgNode

from tai_dpt.errors import InputError
from tai_dpt.io.history import HISTORY_FILE, read_history
from tai_dpt.toolbox import embedded
from tai_dpt.toolbox.choice import dassl_is_installed
from tai_dpt.toolbox.environment import set_random_seed
from tai_dpt.toolbox.schedule import build_lr_scheduler

from toolbox_toy import Interrupted, make_trainer, toy_config

needs_dassl = pytest.mark.skipif(not dassl_is_installed(), reason="dassl is not installed")
BOTH = ["embedded", pytest.param("stock", marks=needs_dassl)]


@pytest.fixture(params=BOTH)
def toolbox(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(f"tai_dpt.toolbox.{request.param}")


@pytest.fixture
def stock() -> ModuleType:
    return importlib.import_module("tai_dpt.toolbox.stock")


def train(toolbox: ModuleType, folder: Any, *opts: Any, stop_after: int | None = None) -> Any:
    set_random_seed(3)
    trainer = make_trainer(toolbox)(toy_config(toolbox, folder, *opts))
    trainer.stop_after = stop_after
    if stop_after is None:
        trainer.train()
    else:
        with pytest.raises(Interrupted):
            trainer.train()
    return trainer


# -- config ------------------------------------------------------------------------------------

COOP_YAML = """
DATALOADER:
  TRAIN_X: {BATCH_SIZE: 32}
  TEST: {BATCH_SIZE: 100}
  NUM_WORKERS: 8
INPUT:
  SIZE: (224, 224)
  INTERPOLATION: "bicubic"
  PIXEL_MEAN: [0.48145466, 0.4578275, 0.40821073]
  PIXEL_STD: [0.26862954, 0.26130258, 0.27577711]
  TRANSFORMS: ["random_resized_crop", "random_flip", "normalize"]
OPTIM:
  NAME: "sgd"
  LR: 0.002
  MAX_EPOCH: 50
  LR_SCHEDULER: "cosine"
  WARMUP_EPOCH: 1
  WARMUP_TYPE: "constant"
  WARMUP_CONS_LR: 1e-5
TRAIN: {PRINT_FREQ: 5}
MODEL: {BACKBONE: {NAME: "RN50"}}
"""


def test_a_yaml_file_in_coops_style_merges(toolbox: ModuleType, tmp_path: Any) -> None:
    (tmp_path / "rn50.yaml").write_text(COOP_YAML)
    cfg = toolbox.get_cfg_default()
    cfg.merge_from_file(str(tmp_path / "rn50.yaml"))
    assert cfg.INPUT.SIZE == (224, 224)
    assert cfg.OPTIM.WARMUP_CONS_LR == 1e-5
    assert cfg.MODEL.BACKBONE.NAME == "RN50"


def test_each_config_is_a_fresh_one(toolbox: ModuleType) -> None:
    cfg = toolbox.get_cfg_default()
    cfg.INPUT.PIXEL_MEAN[0] = 9.0
    cfg.OPTIM.LR = 9.0
    again = toolbox.get_cfg_default()
    assert again.INPUT.PIXEL_MEAN[0] == 0.485
    assert again.OPTIM.LR == 0.0003


def flat(node: CfgNode, prefix: str = "") -> dict[str, Any]:
    items: dict[str, Any] = {}
    for key, value in node.items():
        if isinstance(value, CfgNode):
            items |= flat(value, f"{prefix}{key}.")
        else:
            items[prefix + key] = (type(value), value)
    return items


@needs_dassl
def test_the_embedded_defaults_are_stocks_key_by_key(stock: ModuleType) -> None:
    theirs = flat(stock.get_cfg_default())
    of_its_trainers = {key for key in theirs if key.startswith("TRAINER.") and key.count(".") > 1}
    assert flat(embedded.get_cfg_default()) == {
        key: value for key, value in theirs.items() if key not in of_its_trainers
    }


# -- registries, datasets ------------------- -----------------------------------------------------


def test_a_taken_name_is_refused_and_force_replaces_it(toolbox: ModuleType) -> None:
    registry = type(toolbox.TRAINER_REGISTRY)("TOY")

    @registry.register()
    class Thing:
        pass

    assert registry.get("Thing") is Thing
    assert registry.registered_names() == ["Thing"]
    with pytest.raises(KeyError, match="Thing"):
        registry.register(Thing)
    registry.register(Thing, force=True)
    with pytest.raises(KeyError, match="Other"):
        registry.get("Other")


def test_a_dataset_takes_its_classes_from_a_list(toolbox: ModuleType) -> None:
    captions = toolbox.DatasetBase(train_x=["a cat"], test=[1, 2], classnames=["cat", "dog"])
    assert captions.num_classes == 2
    assert captions.classnames == ["cat", "dog"]
    assert captions.lab2cname == {0: "cat", 1: "dog"}
    assert (captions.train_x, captions.val, captions.test) == (["a cat"], None, [1, 2])


# -- a run ---------------------------------------------------------------------------------------


def test_hooks_log_lines_and_files_of_a_run(
    toolbox: ModuleType, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = train(toolbox, tmp_path)
    assert trainer.calls == [
        "build_data_loader",
        "build_model",
        "before_train",
        *(f"after_epoch {epoch}" for epoch in range(4)),
        "after_train",
    ]
    assert isinstance(trainer, toolbox.TrainerX)
    assert trainer.device == torch.device("cpu")
    assert (trainer.num_batches, trainer.batch_idx, trainer.epoch) == (4, 3, 3)
    assert trainer.rates[::4] == pytest.approx([0.001, 0.1, 0.0853553, 0.05])

    lines = capsys.readouterr().out.splitlines()
    epoch = re.compile(
        r"epoch \[(\d+)/(\d+)\] batch \[(\d+)/(\d+)\] time \d+\.\d{3} \(\d+\.\d{3}\) "
        r"data \d+\.\d{3} \(\d+\.\d{3}\) loss ([\d.]+) \([\d.]+\) lr ([\d.e+-]+) eta \d+:\d\d:\d\d"
    )
    matches = [match for match in map(epoch.fullmatch, lines) if match]
    assert [match.groups()[:4] for match in matches] == [
        (str(e), "4", str(b), "4") for e in range(1, 5) for b in (2, 4)
    ]
    assert [float(m[5]) for m in matches] == pytest.approx(trainer.losses[1::2], abs=1e-4)
    assert float(matches[0][6]) == 0.001
    # the schedule moves after an epoch's last batch, before its line is printed
    assert float(matches[1][6]) == 0.1

    end = lines.index("Finish training")
    assert lines[end + 1 : end + 4] == [
        "Deploy the last-epoch model",
        "Evaluate on the *test* set",
        "=> result",
    ]
    # what CoOp's parse_test_res.py looks for after "Finish training"
    assert any(re.search(r"\* accuracy: ([\.\deE+-]+)%", line) for line in lines[end:])
    assert lines[-1].startswith("Elapsed: 0:00:0")

    folder = tmp_path / "prompt_learner"
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoint",
        *(f"model.pth.tar-{number}" for number in range(1, 5)),
    ]
    assert (folder / "checkpoint").read_text() == "model.pth.tar-4\n"


def test_a_checkpoint_holds_plain_values(toolbox: ModuleType, tmp_path: Any) -> None:
    trainer = train(toolbox, tmp_path)
    path = tmp_path / "prompt_learner" / "model.pth.tar-4"
    content = torch.load(path, weights_only=True)
    assert content["epoch"] == 4
    assert content["val_result"] is None
    assert content["scheduler"]["last_epoch"] == 4
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(content["state_dict"][name], value)


@pytest.mark.parametrize("name", ["sgd", "adam"])
@pytest.mark.parametrize("final", ["last_step", "best_val"])
def test_resuming_equals_not_having_stopped(
    toolbox: ModuleType, tmp_path: Any, name: str, final: str
) -> None:
    opts = ("OPTIM.NAME", name, "TEST.FINAL_MODEL", final)
    whole = train(toolbox, tmp_path / "whole", *opts)
    train(toolbox, tmp_path / "stopped", *opts, stop_after=2)
    torch.manual_seed(99)  # the resumed process knows nothing of the first one's generators
    resumed = make_trainer(toolbox)(toy_config(toolbox, tmp_path / "stopped", *opts))
    resumed.train()
    assert resumed.start_epoch == 2
    assert resumed.losses == whole.losses[8:]
    assert resumed.rates == whole.rates[8:]
    assert resumed.best_result == whole.best_result
    for key, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[key], value)


def test_resume_names_another_folder(toolbox: ModuleType, tmp_path: Any) -> None:
    train(toolbox, tmp_path / "one", stop_after=3)
    resumed = train(toolbox, tmp_path / "two", "RESUME", str(tmp_path / "one"))
    assert resumed.start_epoch == 3
    assert (tmp_path / "two" / "prompt_learner" / "model.pth.tar-4").is_file()
    with pytest.raises(InputError, match="nowhere does not exist"):
        train(toolbox, tmp_path / "three", "RESUME", str(tmp_path / "nowhere"))


def test_stopped_between_two_models_it_resumes_where_both_are(
    toolbox: ModuleType, tmp_path: Any
) -> None:
    trainer = train(toolbox, tmp_path)
    trainer.register_model("second", nn.Linear(2, 2))
    trainer.save_model(2, str(tmp_path))
    trainer.get_model_names = lambda names=None: ["prompt_learner"]
    trainer.save_model(3, str(tmp_path))  # and here it was stopped
    del trainer.get_model_names
    assert trainer.resume_model_if_exist(str(tmp_path)) == 3


def test_a_finished_run_is_only_tested_again(toolbox: ModuleType, tmp_path: Any) -> None:
    first = train(toolbox, tmp_path)
    again = train(toolbox, tmp_path)
    assert again.losses == []
    assert again.epoch == first.epoch == 3
    assert torch.equal(first.model[1].weight, again.model[1].weight)


# -- which model -------------------------------------------------------------------------------


@pytest.mark.parametrize("final", ["best_val", "best_test"])
def test_the_best_epoch_is_kept_and_deployed(
    toolbox: ModuleType, tmp_path: Any, capsys: pytest.CaptureFixture[str], final: str
) -> None:
    trainer = train(toolbox, tmp_path, "TEST.FINAL_MODEL", final)
    printed = capsys.readouterr().out
    split = final.removeprefix("best_")
    assert f"Deploy the model with the best {split} performance" in printed
    assert printed.count(f"Evaluate on the *{split}* set") >= 4
    assert ("selected on TEST data" in printed) == (final == "best_test")
    best = torch.load(tmp_path / "prompt_learner" / "model-best.pth.tar", weights_only=True)
    assert best["val_result"] == trainer.best_result
    for key, value in best["state_dict"].items():
        assert torch.equal(trainer.model.state_dict()[key], value)


@pytest.mark.parametrize("opts", [("TEST.FINAL_MODEL", "best_val"), ("TEST.SPLIT", "val")])
def test_without_validation_data_nothing_stands_in_for_it(
    toolbox: ModuleType, tmp_path: Any, opts: tuple[str, str]
) -> None:
    cls = make_trainer(toolbox)
    cls.with_val = False  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=f"{opts[0]} {opts[1]} needs validation data"):
        cls(toy_config(toolbox, tmp_path, *opts))
    trainer = cls(toy_config(toolbox, tmp_path))
    with pytest.raises(InputError, match="has none"):
        trainer.test(split="val")


def test_an_unknown_final_model_is_named(toolbox: ModuleType, tmp_path: Any) -> None:
    with pytest.raises(InputError, match="'best_vall'; did you mean 'best_val'"):
        train(toolbox, tmp_path, "TEST.FINAL_MODEL", "best_vall")


def test_load_model_takes_an_epoch_or_the_best_or_the_latest(
    toolbox: ModuleType, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = train(toolbox, tmp_path)
    weights = trainer.model[1].weight.detach().clone()
    capsys.readouterr()
    trainer.load_model(str(tmp_path), epoch=2)
    assert "(epoch=2)" in capsys.readouterr().out
    assert not torch.equal(trainer.model[1].weight, weights)
    trainer.load_model(str(tmp_path))
    assert "(epoch=4)" in capsys.readouterr().out
    assert torch.equal(trainer.model[1].weight, weights)
    trainer.save_model(1, str(tmp_path), val_result=65.12, model_name="model-best.pth.tar")
    trainer.load_model(str(tmp_path))
    assert "(epoch=2, val_result=65.1)" in capsys.readouterr().out
    trainer.load_model("")
    assert "nothing loaded" in capsys.readouterr().out


def test_a_missing_checkpoint_is_answered_with_those_that_exist(
    toolbox: ModuleType, tmp_path: Any
) -> None:
    trainer = train(toolbox, tmp_path)
    with pytest.raises(FileNotFoundError, match="holds epochs 1, 2, 3, 4") as caught:
        trainer.load_model(str(tmp_path), epoch=9)
    assert isinstance(caught.value, InputError)
    with pytest.raises(InputError, match="does not exist"):
        trainer.load_model(str(tmp_path / "nowhere"))


def test_a_checkpoint_of_other_classes_is_refused_in_one_line(
    toolbox: ModuleType, tmp_path: Any
) -> None:
    trainer = train(toolbox, tmp_path)
    other = nn.Sequential(nn.Dropout(0.2), nn.Linear(5, 8))
    trainer._models["prompt_learner"] = other
    with pytest.raises(
        InputError, match=r"does not fit prompt_learner: size mismatch for 1\.weight"
    ):
        trainer.load_model(str(tmp_path))


def test_scalars_are_written_where_tensorboard_is_installed(
    toolbox: ModuleType, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    train(toolbox, tmp_path)
    printed = capsys.readouterr().out
    if importlib.util.find_spec("tensorboard") is None:
        assert printed.count("tensorboard is not installed") == 1
    else:
        assert list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))


def test_an_infinite_loss_stops_the_run_and_says_what_to_lower(
    toolbox: ModuleType, tmp_path: Any
) -> None:
    with pytest.raises(FloatingPointError, match="infinite or NaN at step") as caught:
        train(toolbox, tmp_path, "OPTIM.LR", 1e30, "OPTIM.WARMUP_EPOCH", 0)
    assert isinstance(caught.value, InputError)
    assert "lower OPTIM.LR (now 1e+30)" in str(caught.value)
    step = int(re.search(r"at step (\d+)", str(caught.value))[1])
    steps = [line["step"] for line in read_history(tmp_path)]
    assert steps == list(range(1, step))


# -- the history ---------------------------------------------------------------------------------


def test_the_history_tells_every_step_and_evaluation(toolbox: ModuleType, tmp_path: Any) -> None:
    trainer = train(toolbox, tmp_path, "TEST.FINAL_MODEL", "best_val")
    lines = read_history(tmp_path)
    steps = [line for line in lines if "lr" in line]
    assert [line["step"] for line in steps] == list(range(1, 17))
    assert [line["epoch"] for line in steps] == [e for e in range(1, 5) for _ in range(4)]
    assert [line["loss"] for line in steps] == trainer.losses
    assert [line["lr"] for line in steps] == trainer.rates
    assert {(line["epochs"], line["steps"]) for line in steps} == {(4, 16)}
    evaluated = [line for line in lines if "mAP" in line]
    assert [(line["epoch"], line["step"], line["split"]) for line in evaluated] == [
        (epoch, 4 * epoch, "val") for epoch in range(1, 5)
    ]
    assert max(line["mAP"] for line in evaluated) == trainer.best_result
    seconds = [line["seconds"] for line in lines]
    assert seconds == sorted(seconds)


def test_a_resumed_run_goes_on_in_the_history(toolbox: ModuleType, tmp_path: Any) -> None:
    train(toolbox, tmp_path, stop_after=3)
    for epoch in (3,):  # stopped within the third epoch: its steps were told, its model not kept
        (tmp_path / "prompt_learner" / f"model.pth.tar-{epoch}").unlink()
    (tmp_path / "prompt_learner/checkpoint").write_text("model.pth.tar-2\n")
    with (tmp_path / HISTORY_FILE).open("a") as stream:
        stream.write('{"epoch": 4, "st')
    train(toolbox, tmp_path)
    assert [line["step"] for line in read_history(tmp_path)] == list(range(1, 17))
    train(toolbox, tmp_path / "other", "RESUME", str(tmp_path))
    assert [line["step"] for line in read_history(tmp_path / "other")] == list(range(1, 17))


# -- stock against embedded ----------------------------------------------------------------------


@needs_dassl
@pytest.mark.parametrize("name", ["sgd", "adam", "amsgrad", "adamw", "rmsprop", "radam"])
@pytest.mark.filterwarnings("ignore:This overload of")  # stock's own RAdam
def test_losses_and_rates_are_the_same_on_both(stock: ModuleType, tmp_path: Any, name: str) -> None:
    opts = ("OPTIM.NAME", name, "OPTIM.LR", 0.01, "OPTIM.MAX_EPOCH", 6)
    ours = train(embedded, tmp_path / "embedded", *opts)
    theirs = train(stock, tmp_path / "stock", *opts)
    assert ours.losses == pytest.approx(theirs.losses, rel=0, abs=1e-6)
    assert ours.rates == theirs.rates
    assert ours.test() == theirs.test()


SCHEDULES = [
    ("LR_SCHEDULER", "single_step"),
    ("LR_SCHEDULER", "single_step", "STEPSIZE", (3,)),
    ("LR_SCHEDULER", "multi_step", "STEPSIZE", (2, 5, 5, 9)),
    ("LR_SCHEDULER", "multi_step", "STEPSIZE", (0, 4)),
    ("LR_SCHEDULER", "cosine"),
]
WARMUPS = [
    (),
    *(
        ("WARMUP_EPOCH", epochs, "WARMUP_TYPE", kind, "WARMUP_RECOUNT", recount)
        for epochs in (1, 4)
        for kind in ("constant", "linear")
        for recount in (True, False)
    ),
]


@needs_dassl
@pytest.mark.parametrize("warmup", WARMUPS, ids=str)
@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_rates_are_those_stock_dassl_gave_on_old_torch(
    stock: ModuleType, monkeypatch: pytest.MonkeyPatch, schedule: tuple, warmup: tuple
) -> None:
    from dassl.optim import build_lr_scheduler as build_stock_scheduler
    from torch.optim.lr_scheduler import LRScheduler

    original = LRScheduler.__init__

    def with_verbose(self: Any, optimizer: Any, last_epoch: int = -1, verbose: Any = None) -> None:
        original(self, optimizer, last_epoch)  # old torch took, and ignored, a third argument

    cfg = embedded.get_cfg_default().OPTIM
    cfg.merge_from_list(["MAX_EPOCH", 10, "LR", 0.02, *schedule, *warmup])

    def rates(build: Any) -> list[float]:
        groups = [{"params": [nn.Parameter(torch.zeros(1))]}]
        groups.append({"params": [nn.Parameter(torch.zeros(1))], "lr": 0.5})
        optimizer = torch.optim.SGD(groups, lr=cfg.LR)
        scheduler = build(optimizer, cfg)
        found = []
        for _ in range(11):
            found += [group["lr"] for group in optimizer.param_groups]
            assert scheduler.get_last_lr() == found[-2:]
            optimizer.step()
            scheduler.step()
        return found

    ours = rates(build_lr_scheduler)
    monkeypatch.setattr(LRScheduler, "__init__", with_verbose)
    assert ours == pytest.approx(rates(build_stock_scheduler), rel=1e-12, abs=1e-17)


# -- living beside others ------------------------------------------------------------------------

IMPORT_CHECK = """
import logging, sys
import tai_dpt.toolbox as toolbox
assert toolbox.TOOLBOX == "dassl", toolbox.TOOLBOX
assert logging.root.manager.disable == 0
import importlib.util
for name in ("wilds", "gdown", "pandas"):
    module = sys.modules.get(name)
    assert module is None or module.__spec__.loader is not None, name
import dassl.engine
assert dassl.engine.TRAINER_REGISTRY is toolbox.TRAINER_REGISTRY
assert issubclass(toolbox.TrainerX, dassl.engine.TrainerX)
print("fine")
"""


@needs_dassl
def test_importing_dassl_leaves_no_trace() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT_CHECK], capture_output=True, text=True)
    assert done.stdout.strip() == "fine", done.stderr


# Registered by stock Dassl 0.6.3 and by CoOp: a second registration would raise in their sessions.
TAKEN = """
    M3SDA DAEL AdaBN SourceOnly MME DANN MCD SE ADDA CDAC DDAIG CrossGrad Vanilla DomainMix DAELDG
    FixMatch MeanTeacher MixMatch SupBaseline EntMin CoOp CoCoOp ZeroshotCLIP ZeroshotCLIP2
    Office31 miniDomainNet VisDA17 CIFARSTL OfficeHome Digit5 DomainNet OfficeHomeDG Camelyon17
    FMoW IWildCam DigitsDG CIFAR10C CIFAR100C PACS DigitSingle VLCS STL10 SVHN CIFAR10 CIFAR100
    Food101 ImageNetR EuroSAT DescribableTextures Caltech101 SUN397 StanfordCars ImageNetA
    OxfordFlowers FGVCAircraft ImageNetSketch ImageNetV2 UCF101 OxfordPets ImageNet Classification
""".split()  # noqa: SIM905


def registered_by(package: str) -> set[str]:
    import tai_dpt.datasets
    import tai_dpt.trainers  # noqa: F401
    from tai_dpt import toolbox

    return {
        name
        for kind in ("TRAINER", "DATASET", "EVALUATOR")
        for registry in [getattr(toolbox, f"{kind}_REGISTRY")]
        for name in registry.registered_names()
        if registry.get(name).__module__.split(".")[0] == package
    }


def test_our_names_are_nobody_elses() -> None:
    ours = registered_by("tai_dpt")
    assert {"TaIDPT", "ZSCLIP"} <= ours
    assert not ours & set(TAKEN)


@needs_dassl
def test_the_list_of_taken_names_is_complete() -> None:
    assert registered_by("dassl") <= set(TAKEN)
