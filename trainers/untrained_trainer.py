"""What trainers that have nothing to train share."""

from __future__ import annotations

from yacs.config import CfgNode

from tai_dpt.errors import InputError
from tai_dpt.features import StorePlan
from tai_dpt.trainers.class_texts import check_template
from tai_dpt.trainers.features import FeatureLoader, readable_images
from tai_dpt.trainers.multilabel import MultiLabelTrainer


class UntrainedTrainer(MultiLabelTrainer):
    """Base of the methods in closed form: their ``train`` is a test."""

    trains = False

    def check_cfg(self, cfg: CfgNode) -> None:
        super().check_cfg(cfg)
        options = self.options_of(cfg)
        if "TEMPLATE" in options:
            check_template(options.TEMPLATE, self.options_key(cfg))

    def train(self) -> None:
        """There is nothing to train: test."""
        self.log(f"{self.cfg.TRAINER.NAME}: nothing to train")
        if not self.cfg.TEST.NO_TEST:
            self.test()

    def build_data_loader(self) -> None:
        super().build_data_loader()
        self.check_room_for(self.kept_features())

    def kept_features(self) -> list[StorePlan]:
        plans = super().kept_features()
        return [self.pool_loader().plan, *plans] if "POOL" in self.options else plans

    def pool_loader(self, *, least: int = 1) -> FeatureLoader:
        """The features of the images of ``POOL``, whose labels are not read.

        Raises:
            InputError: the data set has fewer than ``least`` of them that can be read.
        """
        name = self.options.POOL
        images = self.images.get(name)
        if images is None:  # training images, which a test does not ask for
            images = readable_images(self.cfg, name, self.dataset.images(name))
        loader = self.image_loader(images)
        if loader is None or len(images) < least:
            raise InputError(
                f"{self.options_key(self.cfg)}.POOL {name}: the data set has {len(images)} such "
                f"images, and at least {least} are needed; their labels are not read"
            )
        return loader
