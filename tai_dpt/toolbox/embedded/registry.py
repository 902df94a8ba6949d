"""Names of classes that a config can ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")


class Registry:
    """Maps a class's or function's own name to it.

    ``@REGISTRY.register()`` above a class, or ``REGISTRY.register(cls)``; ``force=True``
    replaces what has the name, which otherwise raises KeyError.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._objects: dict[str, Any] = {}

    @overload
    def register(self, obj: None = None, force: bool = False) -> Callable[[T], T]: ...
    @overload
    def register(self, obj: T, force: bool = False) -> T: ...
    def register(self, obj: Any = None, force: bool = False) -> Any:
        """Register ``obj``, or return a decorator that does."""
        if obj is None:
            return lambda decorated: self.register(decorated, force=force)
        name = obj.__name__
        if name in self._objects and not force:
            raise KeyError(f"{self._name} registry: the name '{name}' is taken")
        self._objects[name] = obj
        return obj

    def get(self, name: str) -> Any:
        """What was registered as ``name``; KeyError if nothing was."""
        if name not in self._objects:
            raise KeyError(f"{self._name} registry: nothing is called '{name}'")
        return self._objects[name]

    def registered_names(self) -> list[str]:
        """All names, in the order in which they were registered."""
        return list(self._objects)
