"""What a forward stores outside of its module while a copy of it runs without data, taken back afterwards.

A global list that collects features, a cache in the class, a global that is bound anew: they would go on holding
tensors without data, and the user's own network would meet them. Looked at are the globals of the files in which the
model's classes have their forward, and the attributes of these classes; a lock or a file there is left alone. What a
helper in another file stores is not seen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch._subclasses.fake_tensor import FakeTensor

_CONTAINERS = (dict, list, set, deque)
_LEVELS, _ENTRIES = 3, 10_000  # containers inside of containers, and entries of one that are looked at
_MISSING = object()


@contextmanager
def leftovers_removed(model: nn.Module) -> Iterator[None]:
    """Afterwards no global and no class attribute holds a tensor without data that it did not hold before."""
    spaces = _namespaces(model)
    before = [dict(vars(owner) if isinstance(owner, type) else owner) for owner in spaces]
    contents: dict[int, tuple[Any, Any]] = {}
    for space in before:
        for value in space.values():
            _note(value, contents, _LEVELS)
    try:
        yield
    finally:
        for value, old in contents.values():
            if _holds_fake(value, 1):
                _restore(value, old)
        for owner, space in zip(spaces, before, strict=True):
            now = dict(vars(owner) if isinstance(owner, type) else owner)
            for name, value in now.items():
                if _holds_fake(value, _LEVELS):
                    _bind(owner, name, space.get(name, _MISSING))


def _namespaces(model: nn.Module) -> list[Any]:
    """The classes of the model's own modules, and the globals of their forwards."""
    kinds = {k for module in model.modules() for k in type(module).__mro__ if "forward" in vars(k)}
    own = [kind for kind in kinds if kind.__module__.split(".")[0] != "torch"]
    spaces = {id(g): g for k in own if (g := getattr(vars(k)["forward"], "__globals__", None)) is not None}
    return [*own, *spaces.values()]


def _note(value: Any, contents: dict[int, tuple[Any, Any]], levels: int) -> None:
    """Remember what a container holds, and those in it."""
    if not levels or not isinstance(value, _CONTAINERS) or id(value) in contents or len(value) > _ENTRIES:
        return
    contents[id(value)] = value, value.copy()
    for item in value.values() if isinstance(value, dict) else value:
        _note(item, contents, levels - 1)


def _holds_fake(value: Any, levels: int) -> bool:
    if isinstance(value, FakeTensor):
        return True
    if not levels or not isinstance(value, (*_CONTAINERS, tuple)) or len(value) > _ENTRIES:
        return False
    items = value.values() if isinstance(value, dict) else value
    return any(_holds_fake(item, levels - 1) for item in items)


def _restore(container: Any, old: Any) -> None:
    container.clear()
    if isinstance(container, (dict, set)):
        container.update(old)
    else:
        container.extend(old)


def _bind(owner: Any, name: str, value: Any) -> None:
    if isinstance(owner, type):
        delattr(owner, name) if value is _MISSING else setattr(owner, name, value)
    elif isinstance(owner, MutableMapping):
        owner.pop(name) if value is _MISSING else owner.update({name: value})
