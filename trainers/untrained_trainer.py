"""What trainers that have nothing to train share."""

from __future__ import annotations

from tai_dpt.trainers.multilabel import MultiLabelTrainer


class UntrainedTrainer(MultiLabelTrainer):
    """Base of the methods in closed form: their ``train`` is a test."""

    def train(self) -> None:
        """There is nothing to train: test."""
        self.log(f"{self.cfg.TRAINER.NAME}: nothing to train")
        if not self.cfg.TEST.NO_TEST:
            self.test()
