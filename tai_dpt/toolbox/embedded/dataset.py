"""The splits of a data set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


class SplitData:
    """Training, unlabelled, validation and test items, and the classes of the training items.

    An item is anything; for the classes to be derived it has ``label`` (an integer) and
    ``classname``.
    """

    dataset_dir = ""
    domains: Sequence[str] = ()

    def __init__(
        self,
        train_x: Sequence[Any] | None = None,
        train_u: Sequence[Any] | None = None,
        val: Sequence[Any] | None = None,
        test: Sequence[Any] | None = None,
    ) -> None:
        self._train_x, self._train_u, self._val, self._test = train_x, train_u, val, test
        self._num_classes = self.get_num_classes(train_x or ())
        self._lab2cname, self._classnames = self.get_lab2cname(train_x or ())

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

    @staticmethod
    def get_num_classes(data_source: Iterable[Any]) -> int:
        """One more than the largest label (0 without items)."""
        return max((item.label for item in data_source), default=-1) + 1

    @staticmethod
    def get_lab2cname(data_source: Iterable[Any]) -> tuple[dict[int, str], list[str]]:
        """The names by label, and the names in the order of the labels."""
        mapping = {item.label: item.classname for item in data_source}
        return mapping, [mapping[label] for label in sorted(mapping)]
