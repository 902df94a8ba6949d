"""Building what a config names, with an error that lists what it could have named."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from yacs.config import CfgNode

from tai_dpt.errors import InputError, unknown


class NameRegistry(Protocol):
    """What stock Dassl's registries and the embedded ones have in common."""

    def get(self, name: str) -> Any: ...
    def registered_names(self) -> list[str]: ...


def check_name(kind: str, name: str, valid: Iterable[str], *, key: str) -> None:
    """Raise InputError unless ``name`` is one of ``valid``; ``key`` is where the user set it."""
    valid = sorted(valid)
    if not name:
        raise InputError(f"no {kind} given: set {key}; valid: {', '.join(valid) or '(none)'}")
    if name not in valid:
        raise unknown(f"{kind} ({key})", name, valid)


class Builders:
    """``build_trainer`` and its kin over the registries of either toolbox."""

    def __init__(
        self, *, trainers: NameRegistry, datasets: NameRegistry, evaluators: NameRegistry
    ) -> None:
        self._trainers = trainers
        self._datasets = datasets
        self._evaluators = evaluators

    def check_names(self, cfg: CfgNode) -> None:
        """Raise InputError if ``cfg`` names a trainer, dataset or evaluator nobody registered."""
        for kind, name, registry, key in (
            ("trainer", cfg.TRAINER.NAME, self._trainers, "--trainer or TRAINER.NAME"),
            ("dataset", cfg.DATASET.NAME, self._datasets, "DATASET.NAME"),
            ("evaluator", cfg.TEST.EVALUATOR, self._evaluators, "TEST.EVALUATOR"),
        ):
            check_name(kind, name, registry.registered_names(), key=key)

    def build_trainer(self, cfg: CfgNode) -> Any:
        """The trainer ``cfg.TRAINER.NAME``, built from ``cfg``."""
        return self._build("trainer", cfg.TRAINER.NAME, self._trainers, "TRAINER.NAME", cfg)

    def build_dataset(self, cfg: CfgNode) -> Any:
        """The dataset ``cfg.DATASET.NAME``, built from ``cfg``."""
        return self._build("dataset", cfg.DATASET.NAME, self._datasets, "DATASET.NAME", cfg)

    def build_evaluator(self, cfg: CfgNode, **kwargs: Any) -> Any:
        """The evaluator ``cfg.TEST.EVALUATOR``; ``kwargs`` (such as ``lab2cname``) go to it."""
        name = cfg.TEST.EVALUATOR
        return self._build("evaluator", name, self._evaluators, "TEST.EVALUATOR", cfg, **kwargs)

    @staticmethod
    def _build(
        kind: str, name: str, registry: NameRegistry, key: str, cfg: CfgNode, **kwargs: Any
    ) -> Any:
        check_name(kind, name, registry.registered_names(), key=key)
        if cfg.VERBOSE:
            print(f"Loading {kind}: {name}")
        return registry.get(name)(cfg, **kwargs)
