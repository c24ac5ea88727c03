"""The tensors in whatever a model takes or gives: nested containers, dataclasses, objects of any class."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Set
from types import FunctionType, MethodType, ModuleType
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree

_CLOSED = (str, bytes, bytearray, int, float, complex, type, FunctionType, MethodType, ModuleType, nn.Module)


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors in a value, however it nests them, each once, in a fixed order.

    PyTorch's own walk stops at what is not registered with it, such as a dataclass; a model's output may be one.
    """
    return list(_walk(value, set()))


def _walk(value: Any, seen: set[int]) -> Iterator[Tensor]:
    if value is None or isinstance(value, _CLOSED) or id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Tensor):
        yield value
        return
    for part in _parts(value):
        yield from _walk(part, seen)


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, (list, tuple, Set)):
        return [*value, *_attributes(value)]
    if dataclasses.is_dataclass(value):
        return [*(getattr(value, field.name, None) for field in dataclasses.fields(value)), *_attributes(value)]
    leaves = pytree.tree_leaves(value)
    return leaves if len(leaves) != 1 or leaves[0] is not value else _attributes(value)


def _attributes(value: Any) -> list[Any]:
    slots = [name for kind in type(value).__mro__ for name in _names(kind.__dict__.get("__slots__", ()))]
    return [*getattr(value, "__dict__", {}).values(), *(getattr(value, name, None) for name in slots)]


def _names(slots: Any) -> Iterable[str]:
    return (slots,) if isinstance(slots, str) else tuple(slots)
