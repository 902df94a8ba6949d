"""Runs that a trainer stands on: trained where they are not there yet, evaluated where needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from tai_dpt.errors import InputError
from tai_dpt.scoring.results import RESULTS_FILE, SCORES_FILE, whole_results
from tai_dpt.scoring.run_fusion import Component, read_component
from tai_dpt.toolbox import build_trainer, logging_to, set_random_seed
from tai_dpt.trainers.config import default_config
from tai_dpt.trainers.config_files import restore
from tai_dpt.trainers.multilabel import MultiLabelTrainer
from tai_dpt.trainers.output_folder import check_training


@dataclass
class OtherRun:
    """A run in its folder, finished or to be trained.

    Args:
        role: what messages call it.
        folder: its output folder.
        epoch: of the checkpoint to evaluate; None: the final one.
    """

    role: str
    folder: Path
    epoch: int | None = None

    def train(self, cfg: CfgNode) -> None:
        """Train it as ``cfg`` says, which names its folder, unless it is finished there."""
        check_training(cfg)
        if (self.folder / RESULTS_FILE).is_file():
            print(f"{self.role}: {self.folder} is finished")
            return
        print(f"{self.role}: training {cfg.TRAINER.NAME} in {self.folder}")
        with logging_to(cfg.OUTPUT_DIR):
            if cfg.SEED >= 0:
                set_random_seed(cfg.SEED)
            print(f"** Config **\n{cfg}")
            build_trainer(cfg).train()

    def evaluated(self, cfg: CfgNode, *, split: str, output: Path) -> Component:
        """Its scores of ``split``: those it left, else made now from its model, in ``output``.

        Raises:
            InputError: it is not finished, or no run's folder.
        """
        results = self._results()
        if self.epoch is None and results.get("split") == split:
            return read_component(self.folder)
        with logging_to(output):
            self.trainer(cfg, split=split, output=output).test()
        return read_component(output / SCORES_FILE)

    def trainer(self, cfg: CfgNode, *, split: str, output: Path) -> MultiLabelTrainer:
        """Its trainer with its model, to evaluate with: its own settings, and the data's place,
        the device and the store of ``cfg``."""
        own = default_config()
        restore(own, self._results()["config"])
        own.DATASET.ROOT, own.OUTPUT_DIR, own.RESUME = cfg.DATASET.ROOT, str(output), ""
        own.USE_CUDA, own.FEATURES = cfg.USE_CUDA, cfg.FEATURES.clone()
        own.TEST.SPLIT, own.TEST.NO_TEST = split, False
        own.freeze()
        trainer: MultiLabelTrainer = build_trainer(own)
        trainer.load_model(str(self.folder), epoch=self.epoch)
        return trainer

    def _results(self) -> dict[str, Any]:
        path = self.folder / RESULTS_FILE
        if not path.is_file():
            raise InputError(
                f"{self.role} run {self.folder}: no {RESULTS_FILE} there; it is not finished, or "
                "no run's folder"
            )
        return whole_results(path)
