"""While it runs, a network whose removed channels are zero computes its norms and means over those that stay."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from reconv.graph.channels import Mask
from reconv.graph.labels import axes_of
from reconv.graph.record import Operation
from reconv.graph.rules import operator_of
from reconv.graph.tracing import bind_arguments
from reconv.surgery.cut import Removal

# Norms over the channels of their input -> the axis of these.
_NORMS = {"aten.native_layer_norm": -1, "aten.native_group_norm": 1}


class OtherPassError(Exception):
    """The forward pass is not the one that was traced, so that nothing is known of its channels."""


class OverKept(TorchDispatchMode):
    """Norms over channels, means and the like run over those that stay, as the operators' rows say.

    Args:
        plan: of the cut; its graph knows the operators of a forward pass, one after the other.
        masks: of the parameters that lost something, by their ids.
    """

    def __init__(self, plan: Removal, masks: Mapping[int, Mask]):
        super().__init__()
        self.statistics = iter(plan.graph.statistics)
        self.plan = plan
        self.masks = masks
        self.norms = operations_by_name(plan.graph.forward)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        operator = operator_of(func)
        if operator.statistic:
            args = (self._kept(func, args[0]), *args[1:])
        outputs = func(*args, **(kwargs or {}))
        if operator.over_kept is not None:
            arguments = bind_arguments(func, args, kwargs or {})
            name = f"{func.namespace}.{func._opname}"
            masks = {**self.masks, **self._mask_of_norm(name, arguments)} if name in _NORMS else self.masks
            kept = operator.over_kept(arguments, masks)
            outputs = outputs if kept is None else (kept, *outputs[1:])
        return outputs

    def _kept(self, func: Any, signal: Tensor) -> Tensor:
        """A signal without what goes of the axes that its statistic runs over."""
        for plane in next(self.statistics, ()):
            (axis,) = axes_of(plane)
            if signal.dim() != plane.ndim or signal.shape[axis] != plane.size:
                raise OtherPassError(f"{func._opname}: the forward pass runs other operators than the traced one")
            indices = np.flatnonzero(self.plan.keep[plane])
            signal = signal.index_select(axis, torch.from_numpy(indices).to(signal.device))
        return signal

    def _mask_of_norm(self, name: str, arguments: Mapping[str, Any]) -> dict[int, Mask]:
        """The channels of its input that stay, as a trace knows them: a norm need not have a scale that is cut."""
        operation = next(self.norms[name], None)
        if operation is None or not operation.outputs:
            return {}
        signal, graph = arguments["input"], self.plan.graph
        axis = _NORMS[name] % signal.dim()
        for plane in operation.outputs[0].planes:
            if axes_of(plane) == (axis,) and plane.ndim == signal.dim() and plane.size == signal.shape[axis]:
                mask = self.plan.keep[graph.labels[plane]].ravel()
                return {} if mask.all() else {id(arguments["weight"]): mask}
        return {}


def operations_by_name(operations: tuple[Operation, ...]) -> dict[str, Iterator[Operation]]:
    """The operations of a forward pass, by the names of their operators, each in the order in which they ran."""
    sorted_: dict[str, list[Operation]] = defaultdict(list)
    for operation in operations:
        sorted_[operation.operator].append(operation)
    found: dict[str, Iterator[Operation]] = defaultdict(lambda: iter(()))
    found.update({name: iter(several) for name, several in sorted_.items()})
    return found


class ZeroWeightNorm(TorchFunctionMode):
    """A weight of zeros divided by its norm is zero."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        return result.nan_to_num(0.0) if func is torch._weight_norm else result
