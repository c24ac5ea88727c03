"""What a network gave, and how far two networks' results are apart."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

_SMALLEST_SCALE = 1e-3  # of the largest output: a smaller one is compared on this scale, since rounding is relative


def tensors_of(outputs: Any) -> list[Tensor]:
    """The tensors and the numbers of a result, in order, in whatever containers, dataclasses or objects they lie."""
    return list(_walk(outputs, set()))


def _walk(value: Any, seen: set[int]) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value.detach()
    elif isinstance(value, (bool, int, float, complex)):
        yield torch.tensor(value, dtype=torch.float64 if isinstance(value, float) else None)
    elif value is None or isinstance(value, (str, bytes, type)) or id(value) in seen:
        return
    else:
        seen.add(id(value))
        for part in _parts(value):
            yield from _walk(part, seen)


def _parts(value: Any) -> Sequence[Any]:
    """What a container or an object of any class holds."""
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, (list, tuple)):
        return value
    if dataclasses.is_dataclass(value):
        return [getattr(value, field.name, None) for field in dataclasses.fields(value)]
    leaves: list[Any] = pytree.tree_leaves(value)
    return leaves if leaves != [value] else list(getattr(value, "__dict__", {}).values())


def holds_numbers(outputs: Sequence[Tensor]) -> bool:
    """Whether there is anything to compare."""
    return any(bool(_finite(t).any()) for t in outputs)


def holds_nan(outputs: Sequence[Tensor]) -> bool:
    return any(bool(torch.isnan(t).any()) for t in outputs)


def _finite(tensor: Tensor) -> Tensor:
    return torch.isfinite(tensor) if tensor.is_floating_point() or tensor.is_complex() else torch.ones_like(tensor) > 0


def difference(expected: Sequence[Tensor], found: Sequence[Tensor]) -> float:
    """The largest difference of two results, relative to the largest number of each tensor; infinite where their
    shapes differ, or where one is infinite or not a number and the other is not.
    """
    if [t.shape for t in expected] != [t.shape for t in found]:
        return math.inf
    scales = [_scale(t) for t in expected]
    floor = _SMALLEST_SCALE * max(
        (s for s, t in zip(scales, expected, strict=True) if t.is_floating_point()), default=0.0
    )
    pairs = zip(expected, found, scales, strict=True)
    return max((_distance(a, b) / max(scale, floor, 1e-300) for a, b, scale in pairs if a.numel()), default=0.0)


def _wide(tensor: Tensor) -> Tensor:
    return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64).cpu()


def _scale(tensor: Tensor) -> float:
    finite = _wide(tensor)[_finite(tensor).cpu()].abs()
    whole = not (tensor.is_floating_point() or tensor.is_complex())
    return max(float(finite.max()) if finite.numel() else 0.0, 1.0 if whole else 0.0)


def _distance(a: Tensor, b: Tensor) -> float:
    a, b = _wide(a), _wide(b)
    alike = (a == b) | (torch.isnan(a) & torch.isnan(b))  # an infinity is itself
    return float((a - b).abs().where(~alike, 0.0).nan_to_num(math.inf, math.inf).max())
