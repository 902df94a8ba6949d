"""A dataset whose class list is given, not counted from one label an item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tai_dpt.toolbox.splits import SplitData as _Splits
else:
    _Splits = object


class ClassListMixin(_Splits):
    """``train_x``, ``train_u``, ``val``, ``test`` and the classes.

    Dassl derives the classes from ``item.label`` and ``item.classname`` of the training items,
    which a caption or an image of many objects does not have: here they are given.
    """

    def __init__(
        self,
        train_x: Sequence[Any] | None = None,
        train_u: Sequence[Any] | None = None,
        val: Sequence[Any] | None = None,
        test: Sequence[Any] | None = None,
        *,
        classnames: Sequence[str],
    ) -> None:
        self._train_x, self._train_u, self._val, self._test = train_x, train_u, val, test
        self._classnames = list(classnames)
        self._num_classes = len(self._classnames)
        self._lab2cname = dict(enumerate(self._classnames))
