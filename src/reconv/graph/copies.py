"""Copies of a model: with other tensors in place of its own, or with tensors that have shapes and hold no data."""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Iterator
from functools import lru_cache
from types import BuiltinFunctionType, FunctionType, NoneType
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils import _pytree as pytree
from torch.utils._mode_utils import no_dispatch

from reconv.errors import GraphError, ReconvError, first_line
from reconv.graph.hooks import isolate_hooks
from reconv.graph.labels import Shape


def copy_without_data(model: nn.Module, fake: FakeTensorMode | None) -> nn.Module:
    """A copy of the model whose parameters and buffers are fake: shapes without data."""
    if fake is None:
        return copy_model(model, own_runs=True)
    tensors = {id(t): fake_like(t, fake) for tensors in parameters_and_buffers(model) for t in tensors.values()}
    return copy_model(model, tensors, own_runs=True)


def fake_like(tensor: Tensor, fake: FakeTensorMode, shape: Shape | None = None) -> Tensor:
    """Like `fake.from_tensor`, which takes ten times as long over what parameters do not have; or of another shape."""
    plain = type(tensor) in (Tensor, nn.Parameter) and tensor.layout == torch.strided
    if not plain and shape is None:
        return fake.from_tensor(tensor)
    if shape is None or shape == tuple(tensor.shape):
        shape, stride = tuple(tensor.shape), tensor.stride()
    else:
        stride = torch.empty(shape, memory_format=memory_format_of(tensor), device="meta").stride()
    result: Any = empty_fake(fake, shape, stride, tensor.dtype, tensor.device)
    result._is_param = isinstance(tensor, nn.Parameter)  # what isinstance(result, nn.Parameter) says
    return result  # type: ignore[no-any-return]


def without_data(example: Any, fake: FakeTensorMode | None) -> Any:
    """The example with tensors that hold no data; as it is without a mode."""
    return example if fake is None else pytree.tree_map_only(Tensor, fake.from_tensor, example)


def empty_fake(fake: FakeTensorMode, shape: Shape, stride: Shape, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A tensor without data."""
    with no_dispatch():
        return FakeTensor(fake, torch.empty_strided(shape, stride, dtype=dtype, device="meta"), device)


def memory_format_of(tensor: Tensor) -> torch.memory_format:
    """How a tensor lies in memory, to lay out a smaller one the same way."""
    for rank, channels_last in ((4, torch.channels_last), (5, torch.channels_last_3d)):
        if tensor.dim() == rank and tensor.is_contiguous(memory_format=channels_last) and not tensor.is_contiguous():
            return channels_last
    return torch.contiguous_format


def copy_model(model: nn.Module, tensors: dict[int, Any] | None = None, *, own_runs: bool = False) -> nn.Module:
    """A copy that holds these tensors, by the ids of those that they replace, and nothing cached.

    Switched to training and back, modules drop what they keep from earlier passes in evaluation mode.

    Args:
        model: any module. tensors: to be held instead of others.
        own_runs: it is for runs that the caller does not ask for, so that what hooks write goes into copies.

    Raises:
        GraphError: the model holds what cannot be copied.
    """
    memo = dict(tensors or {})
    result: nn.Module = _deep_copy(model, memo)
    modules = [module for _, module in named_modules(result)]
    if own_runs:
        isolate_hooks(modules, memo)
    if any(type(module).train is not nn.Module.train for module in modules):
        modes = [module.training for module in modules]
        result.train()
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode
    return result


_LOCKS = (type(threading.Lock()), type(threading.RLock()))
_ATOMS = frozenset({NoneType, bool, int, float, str, type, FunctionType, BuiltinFunctionType})


def _deep_copy(value: Any, memo: dict[int, Any]) -> Any:
    """`copy.deepcopy`, which takes five times as long over what modules are made of."""
    kind: Any = type(value)
    if kind in _ATOMS:
        return value
    if id(value) in memo:
        return memo[id(value)]
    if kind is tuple and all(type(item) in _ATOMS for item in value):
        return value
    if kind is dict or kind is OrderedDict:
        memo[id(value)] = result = kind()
        for key, item in value.items():
            key = key if type(key) in _ATOMS else copy.deepcopy(key, memo)
            result[key] = item if type(item) in _ATOMS else _deep_copy(item, memo)
        return result
    if kind is list:
        items: list[Any] = []
        memo[id(value)] = items
        items.extend(item if type(item) in _ATOMS else _deep_copy(item, memo) for item in value)
        return items
    if kind is set and not value:
        return memo.setdefault(id(value), set())
    if kind in _LOCKS:  # nobody holds the copy's
        return memo.setdefault(id(value), threading.Lock() if kind is _LOCKS[0] else threading.RLock())
    if kind is Tensor and not value.is_leaf:  # a weight that a hook computes anew in every pass
        return memo.setdefault(id(value), value.detach().clone())
    if _is_plain_module(kind):
        memo[id(value)] = module = object.__new__(kind)
        state = {k: v if type(v) in _ATOMS else _copy_attribute(kind, k, v, memo) for k, v in value.__dict__.items()}
        state.pop("_compiled_call_impl", None)  # of `module.compile()`
        module.__setstate__(state)
        return module
    return copy.deepcopy(value, memo)


def _copy_attribute(kind: type, name: str, value: Any, memo: dict[int, Any]) -> Any:
    try:
        return _deep_copy(value, memo)
    except ReconvError:
        raise
    except Exception as error:
        raise GraphError(
            f"{kind.__name__}.{name}: a {type(value).__name__} cannot be copied ({first_line(error)}), and reconv "
            f"works on copies of a model; take it out of the model until it is pruned, or give {kind.__name__} a "
            "__deepcopy__ method"
        ) from error


@lru_cache(maxsize=1024)
def _is_plain_module(kind: type) -> bool:
    """Whether these are modules without a copying method of their own: the state of one goes to its `__setstate__`."""
    hooks = ("__new__", "__getstate__", "__reduce__", "__reduce_ex__")
    others = ("__deepcopy__", "__getnewargs__", "__getnewargs_ex__", "__slots__")
    return (
        issubclass(kind, nn.Module)
        and all(getattr(kind, name) is getattr(nn.Module, name) for name in hooks)
        and not any(hasattr(kind, name) for name in others)
    )


def parameters_and_buffers(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """By their dotted names, shared ones once; a single walk through the model."""
    parameters: dict[str, Tensor] = {}
    buffers: dict[str, Tensor] = {}
    seen = set()
    for path, module in named_modules(model):
        for tensors, own in ((parameters, module._parameters), (buffers, module._buffers)):
            for name, tensor in own.items():
                if tensor is not None and id(tensor) not in seen:
                    seen.add(id(tensor))
                    tensors[f"{path}.{name}" if path else name] = tensor
    return parameters, buffers


def named_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """`model.named_modules()`, without a generator per level."""
    seen = set()
    stack = [("", model)]
    while stack:
        path, module = stack.pop()
        if id(module) not in seen:
            seen.add(id(module))
            yield path, module
            parts = [(f"{path}.{name}" if path else name, m) for name, m in module._modules.items() if m is not None]
            stack += reversed(parts)
