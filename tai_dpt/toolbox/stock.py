"""Stock Dassl (0.6.x) made importable on a current stack, under the door's names."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from tai_dpt.toolbox.choice import VARIABLE
from tai_dpt.toolbox.dataset_mixin import ClassListMixin
from tai_dpt.toolbox.run_mixin import RunMixin

# What Dassl imports at the top of its files, for data sets, downloads and scalars that this
# project does not use.
_OPTIONAL = ("wilds", "gdown", "pandas", "sklearn", "sklearn.metrics", "torch.utils.tensorboard")


class _Missing(ModuleType):
    """Stands for a missing package while Dassl is imported; using it says what to install."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        package = {"torch.utils.tensorboard": "tensorboard", "sklearn": "scikit-learn"}
        wanted = package.get(self.__name__, package.get(self.__name__.split(".")[0], self.__name__))

        def refuse(*_args: Any, **_kwargs: Any) -> Any:
            raise ImportError(f"{self.__name__}.{name} is needed here: pip install {wanted}")

        return refuse


@contextmanager
def _importable() -> Iterator[None]:
    """Stand-ins for missing optional packages, for the length of an import of Dassl.

    They are gone afterwards, so that nobody else's ``try: import pandas`` finds one. What the
    import does to logging (``wilds`` data sets disable all warnings) is undone.
    """
    # torchvision looks packages up while it is imported: let it see what is really there
    importlib.import_module("torchvision.transforms")
    disabled = logging.root.manager.disable
    stubs = []
    for name in _OPTIONAL:
        try:
            importlib.import_module(name)
        except ImportError:
            sys.modules[name] = _Missing(name)
            sys.modules[name].__spec__ = ModuleSpec(name, loader=None)
            stubs.append(name)
    try:
        yield
    finally:
        for name in stubs:
            del sys.modules[name]
        logging.disable(disabled)


try:
    with _importable():
        from dassl.config import get_cfg_default
        from dassl.data.datasets import DATASET_REGISTRY
        from dassl.data.datasets import DatasetBase as _DasslDataset
        from dassl.engine import TRAINER_REGISTRY
        from dassl.engine import TrainerX as _DasslTrainer
        from dassl.evaluation import EVALUATOR_REGISTRY, EvaluatorBase
        from dassl.optim import build_optimizer
except ImportError as error:
    raise ImportError(
        f"dassl is installed but cannot be imported ({error}): install what it misses, or set "
        f"{VARIABLE}=embedded"
    ) from error


class TrainerX(RunMixin, _DasslTrainer):
    """Stock Dassl's ``TrainerX`` with this project's run around the epochs."""


class DatasetBase(ClassListMixin, _DasslDataset):
    """Stock Dassl's dataset base, with the class list given."""


__all__ = [
    "DATASET_REGISTRY",
    "EVALUATOR_REGISTRY",
    "TRAINER_REGISTRY",
    "DatasetBase",
    "EvaluatorBase",
    "TrainerX",
    "build_optimizer",
    "get_cfg_default",
]
