"""Training in several processes: each rank has a part of every batch, all have the same model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from tai_dpt import distributed
from tai_dpt.toolbox import TrainerX


class ParallelTrainer(TrainerX):
    """The toolbox's trainer, on any number of ranks; on one it is the same."""

    def register_model(
        self, name: str = "model", model: Any = None, optim: Any = None, sched: Any = None
    ) -> None:
        """As the toolbox does; all ranks start from rank 0's parameters."""
        if model is not None:
            distributed.broadcast(model)
        super().register_model(name, model, optim, sched)

    def model_backward(self, loss: Tensor) -> None:
        """Gradients of the mean loss over the whole batch, whatever part of it is here."""
        if distributed.world() > 1:
            loss = loss * self.train_loader_x.batch_fraction
        super().model_backward(loss)
        for name in self.get_model_names():
            distributed.sum_gradients(self._models[name].parameters())

    def logged(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Losses as the log shows them: the whole batch's. They stay on the device."""
        return distributed.weighted_sum(values, self.train_loader_x.batch_fraction)

    def save_model(self, *args: Any, **kwargs: Any) -> None:
        """As the toolbox does; the other ranks go on once rank 0 has written it."""
        super().save_model(*args, **kwargs)
        distributed.barrier()
