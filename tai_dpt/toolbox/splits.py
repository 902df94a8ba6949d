"""The splits and the classes of a data set, on the embedded side of the door."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class SplitData:
    """What Dassl's dataset base offers: items by split, and the classes."""

    dataset_dir = ""
    domains: Sequence[str] = ()

    _train_x: Sequence[Any] | None
    _train_u: Sequence[Any] | None
    _val: Sequence[Any] | None
    _test: Sequence[Any] | None
    _num_classes: int
    _lab2cname: dict[int, str]
    _classnames: list[str]

    @property
    def train_x(self) -> Sequence[Any] | None:
        """Labelled training items."""
        return self._train_x

    @property
    def train_u(self) -> Sequence[Any] | None:
        """Unlabelled training items."""
        return self._train_u

    @property
    def val(self) -> Sequence[Any] | None:
        """Validation items."""
        return self._val

    @property
    def test(self) -> Sequence[Any] | None:
        """Test items."""
        return self._test

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return self._num_classes

    @property
    def lab2cname(self) -> dict[int, str]:
        """Class names by label."""
        return self._lab2cname

    @property
    def classnames(self) -> list[str]:
        """Class names in the order of their labels."""
        return self._classnames
