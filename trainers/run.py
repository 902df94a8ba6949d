"""From flags or keywords to a config, and from a config to a finished run.

``tai-dpt train`` calls ``setup_cfg`` and ``run``; other callers ``make_cfg`` and ``run``.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NoReturn

from yacs.config import CfgNode

import tai_dpt.datasets
import tai_dpt.trainers  # noqa: F401  (registers the trainers)
from tai_dpt import distributed
from tai_dpt.device import choose_device
from tai_dpt.errors import InputError, Stopped, first_few
from tai_dpt.toolbox import (
    TOOLBOX,
    TRAINER_REGISTRY,
    build_trainer,
    check_names,
    collect_env_info,
    logging_to,
    set_random_seed,
)
from tai_dpt.trainers.config import default_config
from tai_dpt.trainers.config_files import find_key, merge_file, merge_pairs, read_file
from tai_dpt.trainers.features import settle_precision
from tai_dpt.trainers.heeded import unheeded
from tai_dpt.trainers.multilabel import MultiLabelTrainer
from tai_dpt.trainers.option_ranges import check_options
from tai_dpt.trainers.output_folder import (
    check_evaluation,
    check_training,
    keep_dense,
    nothing_left_if_refused,
)
from tai_dpt.trainers.public_names import refuse_public_names

PathLike = str | os.PathLike[str]

_WIDTH = 80  # of help texts, as click's commands have them


class _LastCounts(argparse.Action):
    """Of a flag given twice the last counts, as CoOp's scripts expect, and a line says so."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        if getattr(namespace, self.dest) != self.default:
            print(f"warning: {option_string} was given twice: the last counts", file=sys.stderr)
        setattr(namespace, self.dest, values)


class _Parser(argparse.ArgumentParser):
    """Complains in one line, as click's commands do."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} ({self.prog} --help says more)")


def build_parser(prog: str = "train.py") -> argparse.ArgumentParser:
    """The flags of CoOp's ``train.py``, of a command that is called ``prog``."""
    parser = _Parser(
        prog=prog,
        description="Train or evaluate a trainer on a dataset, as in CoOp.",
        formatter_class=functools.partial(argparse.HelpFormatter, width=_WIDTH),
    )
    parser.register("action", None, _LastCounts)
    add = parser.add_argument
    add("--root", default="", help="folder the datasets are in")
    add("--output-dir", default="", help="folder for the log, checkpoints and results")
    add("--resume", default="", help="folder of an interrupted run, to go on with")
    add("--seed", type=int, help="0 or more: a fixed seed; negative: none")
    add("--source-domains", nargs="+", help="source domains (DATASET.SOURCE_DOMAINS)")
    add("--target-domains", nargs="+", help="target domains (DATASET.TARGET_DOMAINS)")
    add("--transforms", nargs="+", help="image transforms (INPUT.TRANSFORMS)")
    add("--config-file", default="", help="the trainer's yaml file")
    add("--dataset-config-file", default="", help="the dataset's yaml file")
    add("--trainer", default="", help="name of the trainer")
    add("--backbone", default="", help="name or file of the backbone (MODEL.BACKBONE.NAME)")
    add("--head", default="", help="name of the head (MODEL.HEAD.NAME)")
    add("--eval-only", action="store_true", help="evaluate a trained model, do not train")
    add("--model-dir", default="", help="folder of the run to evaluate (with --eval-only)")
    add("--load-epoch", type=int, help="evaluate this epoch's checkpoint (with --eval-only)")
    add("--no-train", action="store_true", help="build the trainer and stop")
    add("--overwrite", action="store_true", help="replace the run in the output folder")
    add("--json", action="store_true", help="the result as one JSON document; the log on stderr")
    add("-q", "--quiet", action="store_true", help="no log on the console, nor notes")
    add("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="further config options")
    return parser


def setup_cfg(args: argparse.Namespace) -> CfgNode:
    """The frozen config of a command line.

    Later wins: defaults, ``extend_cfg``, dataset yaml, trainer yaml, flags, KEY VALUE pairs.
    Raises InputError for a missing file, an unknown key, a value of another type or none that is
    valid.
    """
    cfg = default_config()
    paths = [path for path in (args.dataset_config_file, args.config_file) if path]
    pairs = [*(args.opts or ())]
    asked = {key: value for path in paths for key, value in read_file(path).items()}
    asked |= {"TRAINER.NAME": args.trainer} if args.trainer else {}
    refuse_public_names(asked | dict(zip(pairs[::2], pairs[1::2], strict=False)))
    for path in paths:
        merge_file(cfg, path)
    if args.dataset_config_file and not cfg.DATASET.LABEL:
        cfg.DATASET.LABEL = Path(args.dataset_config_file).stem
    flags = {
        "DATASET.ROOT": args.root,
        "OUTPUT_DIR": args.output_dir,
        "RESUME": args.resume,
        "DATASET.SOURCE_DOMAINS": args.source_domains,
        "DATASET.TARGET_DOMAINS": args.target_domains,
        "INPUT.TRANSFORMS": args.transforms,
        "TRAINER.NAME": args.trainer,
        "MODEL.BACKBONE.NAME": args.backbone,
        "MODEL.HEAD.NAME": args.head,
    }
    given = {key: value for key, value in flags.items() if value}
    given |= {} if args.seed is None else {"SEED": args.seed}
    for key, value in given.items():
        node, leaf = find_key(cfg, key)
        node[leaf] = value
    merge_pairs(cfg, pairs)
    check_options(cfg)
    if cfg.TRAINER.NAME in TRAINER_REGISTRY.registered_names():
        typed = [*given, *map(str, pairs[::2])]
        # a line and no error: CoOp's scripts hand every trainer the same options
        for whom, keys in unheeded(typed, [cfg.TRAINER.NAME], cfg.DATASET.NAME).items():
            warnings.warn(
                f"{cfg.TRAINER.NAME} does not heed {', '.join(keys)}: for {whom}", stacklevel=2
            )
    settle_precision(cfg, choose_device("auto" if cfg.USE_CUDA else "cpu"))
    cfg.freeze()
    return cfg


def make_cfg(
    *,
    dataset_config: PathLike,
    config: PathLike,
    root: PathLike,
    output_dir: PathLike,
    seed: int,
    trainer: str,
    opts: Sequence[Any] = (),
) -> CfgNode:
    """The frozen config of a run started from Python; ``opts`` is KEY, VALUE, KEY, VALUE, …

    Errors as in ``setup_cfg``.
    """
    args = build_parser().parse_args([])
    args.dataset_config_file, args.config_file = os.fspath(dataset_config), os.fspath(config)
    args.root, args.output_dir = os.fspath(root), os.fspath(output_dir)
    args.seed, args.trainer, args.opts = seed, trainer, list(opts)
    return setup_cfg(args)


def run(
    cfg: CfgNode,
    *,
    eval_only: bool = False,
    model_dir: PathLike = "",
    load_epoch: int | None = None,
    no_train: bool = False,
    overwrite: bool = False,
    header: str = "",
    quiet: bool = False,
    watch: Callable[[int, int, float], None] | None = None,
) -> Any:
    """Build ``cfg``'s trainer and train it (or evaluate it); returns the trainer.

    Everything printed, ``header`` and the config first, goes to ``OUTPUT_DIR``/log.txt and,
    unless ``quiet``, to stdout. Of the processes that ``torchrun`` started only rank 0 prints and
    writes. ``overwrite`` replaces the run that is in the folder. ``watch`` takes (steps done, steps
    in all, loss) after every training step.

    Raises:
        InputError: a name that nobody registered, a folder that cannot be written or that holds a
            run with other options, a loss that diverges.
    """
    check_names(cfg)
    if eval_only and (no_train or cfg.RESUME):
        raise InputError(
            f"--eval-only trains nothing, and {'--no-train' if no_train else '--resume'} is about "
            "training: leave one of them out (--model-dir names the run to evaluate)"
        )
    if not eval_only and (model_dir or load_epoch is not None):
        raise InputError("--model-dir and --load-epoch say what --eval-only evaluates: add it")
    if load_epoch is not None and not model_dir:
        raise InputError("--load-epoch needs --model-dir, the folder of the run to evaluate")
    distributed.setup(cuda=cfg.USE_CUDA)
    settle_precision(cfg, choose_device("auto" if cfg.USE_CUDA else "cpu"))  # with the others now
    there = model_dir or cfg.RESUME or ("" if overwrite else cfg.OUTPUT_DIR)
    kept = bool(there) and keep_dense(cfg, there)
    with _log_of_rank(cfg.OUTPUT_DIR, quiet=quiet):
        if not (eval_only or no_train):
            check_training(cfg, overwrite=overwrite)
        if cfg.SEED >= 0:
            print(f"Setting fixed seed: {cfg.SEED}")
            set_random_seed(cfg.SEED)
        print(f"{header}** Config **\n{cfg}")
        print(f"** System **\n{collect_env_info()}\ntoolbox {TOOLBOX}\n")
        trainer = build_trainer(cfg)
        if kept and (dense := cfg.MODEL.BACKBONE.DENSE):
            print(f"local features: {dense}, as in {there} (MODEL.BACKBONE.DENSE chooses others)")
        if eval_only:
            trainer.load_model(os.fspath(model_dir), epoch=load_epoch)
            if isinstance(trainer, MultiLabelTrainer):
                if others := trainer.trained_with():
                    shown = first_few((f"{key} {value}" for key, value in others.items()), 8)
                    print(f"Note: the model was trained with {shown}; the record says so")
                check_evaluation(cfg, trainer.model_record(), overwrite=overwrite)
            trainer.test()
        elif not no_train:
            if watch is not None:
                trainer.watch = watch
            try:
                trainer.train()
            except Stopped as stop:
                stop.hint = "the same command goes on after the last epoch that was saved"
                raise
    return trainer


@contextmanager
def _log_of_rank(output_dir: PathLike, *, quiet: bool) -> Iterator[None]:
    """The log on rank 0, silence on the others."""
    if not distributed.is_main():
        output_dir, quiet = "", True
    refused = nothing_left_if_refused(output_dir) if output_dir else nullcontext()
    with refused, logging_to(output_dir, echo=not quiet):
        yield
