"""Normalization: statistics over some axes, a scale and a shift along the channels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.modules.instancenorm import _InstanceNorm

from reconv.graph.labels import along, axes_of
from reconv.graph.record import NOTHING, Call, Value
from reconv.graph.rules.common import contract, joined, labels_along, merged, size_follows

Mask = npt.NDArray[np.bool_]


def batch_norm(call: Call) -> list[Value]:
    signal = call["input"]
    x = labels_along(call, signal, 1)
    for name in ("weight", "bias", "running_mean", "running_var"):
        tensor = call.arguments.get(name)
        if tensor is not None:
            contract(call, x, labels_along(call, tensor, 0))
    scale = call.value(call["weight"]).parameter
    if x is not None and scale in call.record.trained:
        call.record.norms.append((x, scale))
    module = call.record.modules.get(call.module)
    if isinstance(module, _InstanceNorm) and x is not None and call.value(call["weight"]).planes == ():
        size_follows(call, "num_features", x[: module.num_features])  # its input is [1, N * C, ...]
    value = call.value(signal)
    if call.arguments.get("training", True) and not value.static:
        # Statistics of the batch, over everything but the channels. (Standardized weights: over those that stay.)
        over = {a for p in value.planes for a in axes_of(p)} - {1}
        planes = [joined(call, p, over, "a statistic over its channels") for p in value.planes]
    else:
        planes = list(value.planes)
    found = tuple(p for p in planes if p is not None)
    return [Value(found, static=value.static)] + [NOTHING] * (len(call.outputs) - 1)


def group_norm(call: Call) -> list[Value]:
    signal, groups = call["input"], call["group"]
    x = labels_along(call, signal, 1)
    for name in ("weight", "bias"):
        if call[name] is not None:
            contract(call, x, labels_along(call, call[name], 0))
    if x is None:
        return [NOTHING] * len(call.outputs)
    if groups > 1:
        rows = x.reshape(groups, -1)
        if rows.shape[1] == 1:
            call.freeze([rows], "a group norm with one channel a group")
        else:
            call.space.balance(rows)
    return [Value((along(x, 1, signal.dim()),))] + [NOTHING] * (len(call.outputs) - 1)


def layer_norm(call: Call) -> list[Value]:
    signal, normalized = call["input"], len(call["normalized_shape"])
    tensors = [signal] + [t for t in (call["weight"], call["bias"]) if t is not None]
    planes = merged(call, tensors)
    inner = range(signal.dim() - normalized, signal.dim())
    if normalized > 1:
        call.freeze([p for p in planes if set(axes_of(p)) & set(inner)], "normalized over several axes of fixed size")
    elif call["weight"] is None:
        x = labels_along(call, signal, -1)
        if x is not None and hasattr(call.record.modules.get(call.module), "normalized_shape"):
            size_follows(call, "normalized_shape", (x,))
    return [Value(planes)] + [NOTHING] * (len(call.outputs) - 1)


def weight_norm(call: Call) -> list[Value]:
    """v / |v| * g: the norm runs over all axes but one, and a removed input adds nothing to it."""
    v, g = call["v"], call["g"]
    return [Value(merged(call, [v, g]), static=True)] + [NOTHING] * (len(call.outputs) - 1)


# ------------------------------------------------------------------ over the channels that stay, for a proof


def layer_norm_over_kept(arguments: Mapping[str, Any], masks: Mapping[int, Mask]) -> Tensor | None:
    mask, signal = masks.get(id(arguments["weight"])), arguments["input"]
    if mask is None:
        return None
    kept, weight, bias = _kept(arguments, mask)
    part = functional.layer_norm(signal[..., kept], (len(kept),), weight, bias, arguments["eps"])
    return torch.zeros_like(signal).index_copy(-1, kept, part)


def group_norm_over_kept(arguments: Mapping[str, Any], masks: Mapping[int, Mask]) -> Tensor | None:
    mask, signal = masks.get(id(arguments["weight"])), arguments["input"]
    if mask is None:
        return None
    kept, weight, bias = _kept(arguments, mask)
    part = functional.group_norm(signal[:, kept], arguments["group"], weight, bias, arguments["eps"])
    return torch.zeros_like(signal).index_copy(1, kept, part)


def _kept(arguments: Mapping[str, Any], mask: Mask) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Indices of the channels that stay, their scales and their shifts."""
    kept = torch.from_numpy(np.flatnonzero(mask)).to(arguments["input"].device)
    weight, bias = (None if arguments[name] is None else arguments[name][kept] for name in ("weight", "bias"))
    return kept, weight, bias


def standardize_over_kept(arguments: Mapping[str, Any], masks: Mapping[int, Mask]) -> Tensor | None:
    """A weight [1, C, n] minus its mean and over its deviation, row by row, from the entries that stay."""
    weight, scale = arguments["input"], arguments["weight"]
    mask = masks.get(id(weight._base))
    if mask is None:
        return None
    kept = torch.from_numpy(mask.reshape(tuple(weight.shape))).to(weight.device).double()
    count = kept.sum(-1, keepdim=True).clamp(min=1)
    centered = (weight - (weight * kept).sum(-1, keepdim=True) / count) * kept
    result = centered / (centered.square().sum(-1, keepdim=True) / count + arguments["eps"]).sqrt()
    scaled: Tensor = result if scale is None else result * scale[:, None]
    return scaled
