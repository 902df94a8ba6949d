"""A run: epochs, checkpoints, the history, the final model, testing, scalars.

Mixed in front of stock Dassl's ``TrainerX`` and of the embedded one, so both behave alike.
"""

from __future__ import annotations

import datetime
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from yacs.config import CfgNode

from tai_dpt import distributed
from tai_dpt.errors import InputError, unknown
from tai_dpt.io.atomic import naming
from tai_dpt.io.console import as_text
from tai_dpt.io.history import History
from tai_dpt.toolbox import checkpoint as ckpt
from tai_dpt.toolbox.meters import AverageMeter, MetricMeter

if TYPE_CHECKING:
    from tai_dpt.toolbox.loop import EpochLoop as _Loop
else:
    _Loop = object

FINAL_MODELS = ("last_step", "best_val", "best_test")
SPLITS = ("val", "test")


class Diverged(InputError, FloatingPointError):
    """The loss became infinite or NaN; the message says at which step, and what to lower."""


@dataclass(frozen=True)
class ModelState:
    """How far the registered models are trained, and the file that holds them as they are."""

    epoch: int | None = 0  # epochs trained; None: the file does not say
    checkpoint: Path | None = None
    config: Mapping[str, Any] | None = None  # what it was trained with, where the file says


class _Step(NamedTuple):
    """A training step whose losses may not have been read."""

    number: int  # from 1, over the whole run
    shown: Mapping[str, float | Tensor]
    rate: float  # it was taken with
    next_rate: float
    seconds: float | None  # of training when it was done


def _waits(values: Iterable[float | Tensor]) -> bool:
    """Whether to read one of these is to wait for a GPU."""
    return any(isinstance(value, Tensor) and value.device.type != "cpu" for value in values)


class RunMixin(_Loop):
    """Resume, train, select, test.

    ``TEST.FINAL_MODEL`` is ``last_step`` (default), ``best_val`` (needs validation data: never
    test data under another name) or ``best_test`` (which says what it does).
    """

    _writer: Any
    _history: History | None = None
    best_result: float
    model_state = ModelState()
    #: of a run that went on with other options: until which epoch it had which
    earlier_options: tuple[Mapping[str, Any], ...] = ()
    #: takes (steps done, steps in all, loss) after every training step
    watch: Callable[[int, int, float], None] = staticmethod(lambda done, total, loss: None)

    def __init__(self, cfg: CfgNode) -> None:
        if cfg.TEST.FINAL_MODEL not in FINAL_MODELS:
            raise unknown("final model (TEST.FINAL_MODEL)", cfg.TEST.FINAL_MODEL, FINAL_MODELS)
        if cfg.TEST.SPLIT not in SPLITS:
            raise unknown("split (TEST.SPLIT)", cfg.TEST.SPLIT, SPLITS)
        if cfg.TEST.FINAL_MODEL != "last_step" and not cfg.OUTPUT_DIR:
            raise InputError(
                f"TEST.FINAL_MODEL {cfg.TEST.FINAL_MODEL} keeps a model to come back to, and "
                "OUTPUT_DIR is empty: name a folder, or use last_step"
            )
        super().__init__(cfg)
        self.best_result = -math.inf
        if cfg.TEST.FINAL_MODEL == "best_val":
            self._require_val("TEST.FINAL_MODEL best_val")
        if cfg.TEST.SPLIT == "val":
            self._require_val("TEST.SPLIT val")

    def log(self, line: str) -> None:
        """Say a line about the run. It goes to stdout, which ``train.py`` copies into the log."""
        print(line)

    @property
    def keeps_files(self) -> bool:
        """Whether this process writes checkpoints and records: with an ``OUTPUT_DIR``, rank 0."""
        return bool(self.cfg.OUTPUT_DIR) and distributed.is_main()

    def _require_val(self, wish: str) -> None:
        if self.val_loader is None:
            raise InputError(
                f"{wish} needs validation data, and dataset '{self.cfg.DATASET.NAME}' has none: "
                "use TEST.FINAL_MODEL last_step and TEST.SPLIT test (selecting on test data is "
                "called best_test)"
            )

    def build_data_loader(self) -> None:
        """Set ``train_loader_x``, ``train_loader_u``, ``val_loader``, ``test_loader``,
        ``num_classes``, ``num_source_domains`` and ``lab2cname``; a trainer defines it."""
        raise NotImplementedError(f"{type(self).__name__} does not define build_data_loader")

    def build_model(self) -> None:
        """Build the model and ``register_model`` what is trained; a trainer defines it."""
        raise NotImplementedError(f"{type(self).__name__} does not define build_model")

    # -- checkpoints ---------------------------------------------------------------------------

    def adapt_state_dict(self, name: str, state_dict: dict[str, Any]) -> dict[str, Any]:
        """Rename or drop entries of a loaded checkpoint before it goes into model ``name``.

        A trainer that reads other people's checkpoints overrides it; here it changes nothing.
        """
        return state_dict

    def save_model(
        self,
        epoch: int,
        directory: str,
        is_best: bool = False,
        val_result: float | None = None,
        model_name: str = "",
    ) -> None:
        """Write every registered model, with what resuming needs, after ``epoch`` (from 0)."""
        if not self.keeps_files:
            return
        for name in self.get_model_names():
            optimizer, scheduler = self._optims[name], self._scheds[name]
            written = ckpt.save_checkpoint(
                {
                    "state_dict": self._models[name].state_dict(),
                    "epoch": epoch + 1,
                    "optimizer": None if optimizer is None else optimizer.state_dict(),
                    "scheduler": None if scheduler is None else scheduler.state_dict(),
                    "val_result": None if val_result is None else float(val_result),
                    "best_result": float(self.best_result),
                    "generators": ckpt.generator_states(),
                    "config": self.cfg,
                    "earlier_options": self.earlier_options,
                },
                Path(directory) / name,
                is_best=is_best,
                model_name=model_name,
            )
            for path in written:
                self.log(f"Checkpoint saved to {path}")

    def resume_model_if_exist(self, directory: str) -> int:
        """Continue from the last checkpoint in ``directory``; returns the epochs it had run.

        Restores models, optimizers, schedules and the random generators, so that the rest of
        the run is what it would have been. No checkpoint: says so and returns 0.
        """
        if not directory:
            return 0
        names = self.get_model_names()
        paths = [ckpt.latest_checkpoint(Path(directory) / n, report=self.log) for n in names]
        found = [path for path in paths if path is not None]
        if not found or len(found) < len(names):
            self.log("No checkpoint found, train from scratch")
            return 0
        self.log(f"Found checkpoint at {directory} (will resume training)")
        contents = [ckpt.load_checkpoint(path, report=self.log) for path in found]
        for path, content in zip(found, contents, strict=True):
            if lacking := [key for key in ("epoch", "state_dict") if key not in content]:
                raise InputError(f"{path} has no '{lacking[0]}': training cannot go on from it")
        epochs = {content["epoch"] for content in contents}
        if len(epochs) > 1:  # stopped between two models of one epoch: step back to the earlier
            shared = min(epochs)
            found = [path.with_name(f"{ckpt.EPOCH_PREFIX}{shared}") for path in found]
            contents = [ckpt.load_checkpoint(path, report=self.log) for path in found]
        for name, path, content in zip(names, found, contents, strict=True):
            content["state_dict"] = self.adapt_state_dict(name, content["state_dict"])
            ckpt.restore(
                content,
                path=path,
                model=self._models[name],
                optimizer=self._optims[name],
                scheduler=self._scheds[name],
            )
            self.log(f"Loaded {path} (epoch={content['epoch']})")
        last = contents[-1]
        if "generators" in last:
            ckpt.set_generator_states(last["generators"], path=found[-1])
        if self._best_is_saved():
            self.best_result = last.get("best_result", -math.inf)
        self._take_state(int(last["epoch"]), found[-1], last)
        return int(last["epoch"])

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """Load every registered model's weights from ``directory``, for evaluation.

        The checkpoint of ``epoch`` if given, else ``model-best.pth.tar``, else the latest one.
        In place of a folder it may be a checkpoint's file. Raises CheckpointNotFound (an
        InputError), listing the epochs that exist.
        """
        if not directory:
            self.log("No model directory given: nothing loaded, the model is evaluated as built")
            return
        for name in self.get_model_names():
            place = Path(directory)
            path = place
            if not place.is_file():
                path = ckpt.find_checkpoint(place / name, epoch, report=self.log)
            content = ckpt.load_checkpoint(path, report=self.log)
            if "state_dict" in content:
                content["state_dict"] = self.adapt_state_dict(name, content["state_dict"])
            ckpt.load_weights(content, path=path, model=self._models[name], name=name)
            result = content.get("val_result")
            shown = "" if result is None else f", val_result={result:.1f}"
            self.log(f"Load {path} to {name} (epoch={content.get('epoch', 'unknown')}{shown})")
            trained = content.get("epoch")
            self._take_state(None if trained is None else int(trained), path, content)

    def _take_state(self, epoch: int | None, path: Path, content: Mapping[str, Any]) -> None:
        config, earlier = content.get("config"), content.get("earlier_options")
        self.model_state = ModelState(epoch, path, config if isinstance(config, dict) else None)
        if isinstance(earlier, list | tuple) and all(isinstance(one, dict) for one in earlier):
            self.earlier_options = tuple(earlier)

    def _best_is_saved(self) -> bool:
        folder = Path(self.output_dir)
        return all((folder / name / ckpt.BEST).is_file() for name in self.get_model_names())

    # -- scalars -------------------------------------------------------------------------------

    def init_writer(self, log_dir: str) -> None:
        """Write scalars to ``log_dir`` for tensorboard, where tensorboard is installed."""
        if self._writer is not None or not self.keeps_files:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self.log(
                "tensorboard is not installed (pip install tensorboard): no scalars are written"
            )
            return
        if as_text(log_dir) != log_dir:
            self.log(f"{as_text(log_dir)} is no name for tensorboard: no scalars are written")
            return
        self.log(f"Initialize tensorboard (log_dir={log_dir})")
        self._writer = SummaryWriter(log_dir=log_dir)

    def write_scalar(self, tag: str, scalar_value: float, global_step: int | None = None) -> None:
        """Write a scalar, if a writer is open."""
        with naming(Path(self.output_dir) / "tensorboard"):
            super().write_scalar(tag, scalar_value, global_step)

    def close_writer(self) -> None:
        """Close the scalar file, if there is one."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    # -- the run -------------------------------------------------------------------------------

    def before_train(self) -> None:
        """Resume (from ``cfg.RESUME``, else from the output folder), open history and scalars.

        Raises:
            InputError: nothing is there to resume, or more epochs than are asked for.
        """
        resume = self.cfg.RESUME
        if resume and not Path(resume).is_dir():
            raise InputError(f"nothing to resume: the folder {resume} does not exist")
        self.start_epoch = self.resume_model_if_exist(resume or self.cfg.OUTPUT_DIR)
        if self.start_epoch > self.max_epoch:
            raise InputError(
                f"conflict: {resume or self.cfg.OUTPUT_DIR} holds a model of {self.start_epoch} "
                f"epochs, and OPTIM.MAX_EPOCH is {self.max_epoch}: choose another folder, or "
                "replace it with --overwrite"
            )
        self.epoch = max(self.start_epoch - 1, 0)  # where no epoch is left to run
        self.prepare_data()
        if self.cfg.TEST.FINAL_MODEL == "best_test":
            self.log("Note: the final model is selected on TEST data (TEST.FINAL_MODEL best_test)")
        self.init_writer(str(Path(self.output_dir) / "tensorboard"))
        if self.keeps_files:
            self._history = History(self.output_dir, epochs_done=self.start_epoch, source=resume)
        self.time_start = time.time()

    def prepare_data(self) -> None:
        """Do what need not be done in an epoch; a trainer defines it. Nothing is written yet."""

    def run_epoch(self) -> None:
        """One pass over ``train_loader_x``, with a log line every ``TRAIN.PRINT_FREQ`` batches.

        On a GPU the losses are read when they are printed: reading one waits for all that was
        asked of the GPU, and the next batch would not be prepared meanwhile.
        """
        self.set_model_mode("train")
        losses, batch_time, data_time = MetricMeter(), AverageMeter(), AverageMeter()
        self.num_batches = len(self.train_loader_x)
        frequency = self.cfg.TRAIN.PRINT_FREQ
        unread: list[_Step] = []
        end = time.time()
        for batch_idx, batch in enumerate(self.train_loader_x):
            self.batch_idx = batch_idx
            data_time.update(time.time() - end)
            rate = self.get_current_lr()  # a trainer's last step of an epoch moves the schedule
            shown = self.forward_backward(batch) or {}
            seconds = None if self._history is None else self._history.seconds()
            unread.append(_Step(self._step, shown, rate, self.get_current_lr(), seconds))
            done = batch_idx + 1
            printed = done % frequency == 0 or self.num_batches < frequency
            if printed or done == self.num_batches or not _waits(shown.values()):
                for step in unread:
                    self._read_step(step, losses)
                unread.clear()
            batch_time.update(time.time() - end)
            if printed:
                left = (self.max_epoch - self.epoch) * self.num_batches - done
                eta = datetime.timedelta(seconds=int(batch_time.average * left))
                self.log(
                    f"epoch [{self.epoch + 1}/{self.max_epoch}] batch [{done}/{self.num_batches}] "
                    f"time {batch_time.value:.3f} ({batch_time.average:.3f}) "
                    f"data {data_time.value:.3f} ({data_time.average:.3f}) "
                    f"{losses} lr {self.get_current_lr():.4e} eta {eta}"
                )
            end = time.time()

    @property
    def _step(self) -> int:
        """The training step at hand, from 1, counted over the whole run."""
        return self.epoch * self.num_batches + self.batch_idx + 1

    def _read_step(self, step: _Step, losses: MetricMeter) -> None:
        values = {name: float(value) for name, value in step.shown.items()}
        if _waits(step.shown.values()) and not all(map(math.isfinite, values.values())):
            raise self._diverged(step.number)
        losses.update(values)
        self.record_step(step.number, values, rate=step.rate, seconds=step.seconds)
        self.watch(step.number, self.max_epoch * self.num_batches, values.get("loss", math.nan))
        for name, meter in losses.meters.items():
            self.write_scalar(f"train/{name}", meter.average, step.number - 1)
        self.write_scalar("train/lr", step.next_rate, step.number - 1)

    def record_step(
        self, step: int, losses: Mapping[str, float], *, rate: float, seconds: float | None
    ) -> None:
        """Called once for every training step, in order, when its losses have been read.

        Args:
            seconds: of training when the step was done; None where no history is kept.
        """
        if self._history is not None:
            self._history.write(
                seconds=seconds,
                epoch=self.epoch + 1,
                epochs=self.max_epoch,
                step=step,
                steps=self.max_epoch * self.num_batches,
                **losses,
                lr=float(rate),
            )

    def detect_anomaly(self, loss: Tensor) -> None:
        """Raise Diverged, which says what to lower, if the loss is infinite or NaN.

        On a GPU that is found out when the losses are read, see ``run_epoch``.
        """
        if not _waits([loss]) and not torch.isfinite(loss).all():
            raise self._diverged(self._step)

    def _diverged(self, step: int) -> Diverged:
        optim = self.cfg.OPTIM
        return Diverged(
            f"training diverged: the loss is infinite or NaN at step {step} (epoch "
            f"{self.epoch + 1} of {self.max_epoch}): lower OPTIM.LR (now {optim.LR:g}) or warm up "
            f"longer (OPTIM.WARMUP_EPOCH, now {max(optim.WARMUP_EPOCH, 0)})"
        )

    def after_epoch(self) -> None:
        """Keep the best model if one is selected; save at the frequency and at the end."""
        number, frequency = self.epoch + 1, self.cfg.TRAIN.CHECKPOINT_FREQ
        final = self.cfg.TEST.FINAL_MODEL
        self.model_state = ModelState(number)
        if final != "last_step" and not self.cfg.TEST.NO_TEST:
            split = "val" if final == "best_val" else "test"
            result = self.test(split=split)
            if self._history is not None:
                step = number * self.num_batches
                self._history.write(epoch=number, step=step, split=split, mAP=float(result))
            if result > self.best_result:
                self.best_result = float(result)
                self.save_model(
                    self.epoch, self.output_dir, val_result=result, model_name=ckpt.BEST
                )
        if number == self.max_epoch or (frequency > 0 and number % frequency == 0):
            self.save_model(self.epoch, self.output_dir)
            if self.output_dir and (names := self.get_model_names()):
                place = Path(self.output_dir) / names[-1] / f"{ckpt.EPOCH_PREFIX}{number}"
                self.model_state = ModelState(number, place)

    def after_train(self) -> None:
        """Test the final model and say how long it took."""
        if self._history is not None:
            self._history.close()
            self._history = None
        self.log("Finish training")
        if not self.cfg.TEST.NO_TEST:
            final = self.cfg.TEST.FINAL_MODEL
            if final == "last_step":
                self.log("Deploy the last-epoch model")
            else:
                self.log(
                    f"Deploy the model with the best {final.removeprefix('best_')} performance"
                )
                if not self._best_is_saved():
                    raise InputError(
                        f"{final}: {self.output_dir} holds no {ckpt.BEST}, as no epoch was left "
                        "to train: use last_step, or resume in the folder of the earlier run"
                    )
                self.load_model(self.output_dir)
            self.test()
        seconds = round(time.time() - self.time_start)
        self.log(f"Elapsed: {datetime.timedelta(seconds=seconds)}")
        self.close_writer()

    @torch.no_grad()
    def test(self, split: str | None = None) -> float:
        """Evaluate on ``split`` (default ``cfg.TEST.SPLIT``); returns the first metric."""
        split = split or self.cfg.TEST.SPLIT
        if split == "val":
            self._require_val("evaluating on 'val'")
        self.set_model_mode("eval")
        self.evaluator.reset()
        self.log(f"Evaluate on the *{split}* set")
        for batch in self.val_loader if split == "val" else self.test_loader:
            inputs, labels = self.parse_batch_test(batch)
            self.evaluator.process(self.model_inference(inputs), labels)
        results = self.evaluator.evaluate()
        for name, value in results.items():
            self.write_scalar(f"{split}/{name}", value, self.epoch)
        return next(iter(results.values()))
