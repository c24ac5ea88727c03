"""One row of the table of operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from reconv.graph.record import Operation, Rule
from reconv.graph.shortcuts import Shortcut

Bounds = tuple[float, float]
# From an operator's arguments, and a mask of the channels that stay for each parameter that lost some (by its id), to
# what it gives of these channels, zeros elsewhere; None where it reads no such parameter.
OverKept = Callable[[Mapping[str, Any], Mapping[int, Any]], "Tensor | None"]


@dataclass(frozen=True)
class Operator:
    """What the engine knows of an operator.

    Args:
        rule: how labels pass through it.
        shape: what it gives, without data; None: PyTorch is asked.
        functions: PyTorch's functions that run it and of which no argument counts channels, separated by spaces.
        multiplies: it multiplies a signal by a weight: the operator of a layer.
        channelwise: it passes one signal on channel by channel, changed by constants and parameters alone.
        gate: between which values it passes its signal on unchanged; beyond, only the side matters. None: no such.
        adds: it is the sum of two signals.
        statistic: a mean or the like, which a proof takes over the channels that stay.
        over_kept: a norm over channels, taken over those that stay.
    """

    rule: Rule
    shape: Shortcut | None = None
    functions: str = ""
    multiplies: bool = False
    channelwise: bool = False
    gate: Callable[[Operation], Bounds | None] = lambda _: None
    adds: bool = False
    statistic: bool = False
    over_kept: OverKept | None = None


def bounds_from(low: str, high: str) -> Callable[[Operation], Bounds]:
    """The gate of an operator that names its bounds in these arguments."""
    return lambda operation: (float(operation.arguments[low]), float(operation.arguments[high]))
