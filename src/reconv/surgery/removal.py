"""The big network as a removed branch is proved against: the additions of the branches give the stream alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

from reconv.graph.channels import ChannelGraph, Mask
from reconv.graph.rules import operator_named
from reconv.surgery.cut import Removal
from reconv.surgery.over_kept import OtherPassError


@dataclass(frozen=True, eq=False)
class WithBranches:
    """A plan as it would be if the branches that it removes stayed, with all their channels.

    Args:
        plan: which channels and branches go.
    """

    plan: Removal

    @property
    def graph(self) -> ChannelGraph:
        return self.plan.graph

    @cached_property
    def keep(self) -> Mask:
        """Which channel classes stay, [classes]."""
        keep = self.plan.keep.copy()
        for branch in self.graph.removed(keep):
            keep[branch.classes] = True
        return keep


class WithoutBranches(TorchDispatchMode):
    """Runs a traced network with every addition of a removed branch giving the stream in place of the sum.

    Nothing is left out and no module replaced: which addition adds a branch is known by its number in the trace.

    Args:
        plan: of the cut.
    """

    def __init__(self, plan: Removal):
        super().__init__()
        operations = plan.graph.forward
        additions = [i for i, operation in enumerate(operations) if operator_named(operation.operator).adds]
        removed = {branch.addition: branch for branch in plan.graph.removed(plan.keep)}
        self.streams = {n: removed[i].stream for n, i in enumerate(additions) if i in removed}
        self.shapes = [tuple(operations[i].outputs[0].shape) for i in additions]
        self.number = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outputs = func(*args, **(kwargs or {}))
        if not self.streams or not operator_named(f"{func.namespace}.{func._opname}").adds:
            return outputs
        number, self.number = self.number, self.number + 1
        if number >= len(self.shapes) or tuple(outputs.shape) != self.shapes[number]:
            raise OtherPassError(
                f"{func._opname}: the forward pass runs other additions than the traced one (of {tuple(outputs.shape)})"
            )
        if number not in self.streams:
            return outputs
        position = self.streams[number]
        if func._opname.endswith("_"):  # in place
            if position == 1:
                return outputs.copy_(args[1])
            raise OtherPassError("a removed branch was added to the stream in place")
        return args[position].clone()
