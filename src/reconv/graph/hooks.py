"""Hooks of a copy write into copies: a list that collects activations sees nothing of our own runs."""

from __future__ import annotations

import copy
from collections import deque
from types import CellType, CodeType, FunctionType
from typing import Any

from torch import nn

_STORES = ("_forward_hooks", "_forward_pre_hooks")
_CONTAINERS = (dict, list, set, deque)


def isolate_hooks(modules: list[nn.Module], memo: dict[int, Any]) -> None:
    """Give the hooks of these modules copies of whatever they write into.

    A hook that changes what passes does so still. PyTorch's own hooks, which compute weights, are left as they are.

    Args:
        modules: copies. memo: what was copied so far, by the ids of the originals.
    """
    for module in modules:
        for store in _STORES:
            hooks = module.__dict__.get(store) or {}
            for key, hook in hooks.items():
                hooks[key] = _isolated(hook, memo)


def _isolated(value: Any, memo: dict[int, Any]) -> Any:
    """A copy of what could be written into; tensors and all else are the same."""
    if id(value) in memo:
        return memo[id(value)]
    if isinstance(value, FunctionType):
        return value if value.__module__.split(".")[0] == "torch" else _isolated_function(value, memo)
    if isinstance(value, _CONTAINERS):
        result: Any = copy.copy(value)
        memo[id(value)] = result
        if isinstance(value, dict):
            result.update({key: _isolated(item, memo) for key, item in value.items()})
        elif isinstance(result, (list, deque)):
            result.clear()
            result.extend(_isolated(item, memo) for item in value)
        return result
    if isinstance(value, tuple) and type(value) is tuple:
        return tuple(_isolated(item, memo) for item in value)
    if _is_plain_object(value):
        result = object.__new__(type(value))
        memo[id(value)] = result
        result.__dict__.update({key: _isolated(item, memo) for key, item in value.__dict__.items()})
        return result
    return value


def _is_plain_object(value: Any) -> bool:
    """Whether an object is its attributes, and no class, module or tensor."""
    kind: Any = type(value)
    return (
        not isinstance(value, (type, nn.Module))
        and kind.__module__.split(".")[0] not in ("torch", "builtins")
        and hasattr(value, "__dict__")
        and kind.__new__ is object.__new__
        and not hasattr(kind, "__slots__")
    )


def _isolated_function(function: FunctionType, memo: dict[int, Any]) -> FunctionType:
    names = _global_names(function.__code__)
    own = {
        name: _isolated(value, memo)
        for name, value in function.__globals__.items()
        if name in names and (isinstance(value, _CONTAINERS) or _is_plain_object(value))
    }
    cells = None if function.__closure__ is None else tuple(CellType() for _ in function.__closure__)
    result = FunctionType(
        function.__code__, {**function.__globals__, **own}, function.__name__, function.__defaults__, cells
    )
    memo[id(function)] = result
    for cell, before in zip(cells or (), function.__closure__ or (), strict=True):
        try:
            cell.cell_contents = _isolated(before.cell_contents, memo)
        except ValueError:  # an empty cell
            continue
    result.__defaults__ = _isolated(function.__defaults__, memo)
    result.__kwdefaults__ = _isolated(function.__kwdefaults__, memo)
    result.__dict__.update(function.__dict__)
    return result


def _global_names(code: CodeType) -> set[str]:
    nested = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*(_global_names(inner) for inner in nested))
