"""The result of the analysis: layers, groups of tied channels, and which index of which parameter is whose."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from reconv.conv.geometry import ConvGeometry
from reconv.graph.branch import Branch
from reconv.graph.copies import parameters_and_buffers
from reconv.graph.labels import Plane, Shape, axes_of
from reconv.graph.record import Operation
from reconv.html_table import html_table
from reconv.text import limit_lines

Mask: TypeAlias = npt.NDArray[np.bool_]
# What the attribute of a module counts: channels; for a tuple of sizes, entry by entry, channels or a fixed number.
Counted: TypeAlias = Plane | tuple[Plane | int, ...]


@dataclass(frozen=True, eq=False)
class Layer:
    """A convolution or a linear layer, as the forward pass used it.

    Args:
        name: dotted name of the module that holds the weight.
        weight: name of the weight parameter; None where the weight is computed from others.
        kind: "conv", "conv_transposed" or "linear".
        outputs: channel class of every output channel, [C_out].
        inputs: channel class of every input channel by group, [groups, C_in / groups].
        positions: output positions for one image, over all calls (input positions where transposed).
        kernel: kernel size; () for a linear layer.
        geometry: what the convolution sees, measured (a transposed one: of the convolution that it transposes);
            None in three dimensions.
        norm: name of the scale of the BatchNorm that reads the layer's output first, if any.
        rows: where channels lie along the positions, how many of the positions and their classes; one pair per use.
        inputs_first: the parameter is [C_in, C_out], as in `x @ parameter`; `ChannelGraph.weight` turns it.
        needs: presence classes of the branches that it is in (see `branches.py`).
    """

    name: str
    weight: str | None
    kind: str
    outputs: Plane
    inputs: Plane
    positions: float
    kernel: tuple[int, ...] = ()
    geometry: ConvGeometry | None = None
    norm: str | None = None
    rows: tuple[tuple[float, Plane], ...] = ()
    inputs_first: bool = False
    needs: Plane = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def __repr__(self) -> str:
        kernel = "x".join(map(str, self.kernel)) + " " if self.kernel else ""
        groups = f", {self.groups} groups" if self.groups > 1 else ""
        return f"Layer({self.name}: {kernel}{self.kind}, {self.in_channels} -> {self.out_channels} channels{groups})"

    @property
    def out_channels(self) -> int:
        return len(self.outputs)

    @property
    def in_channels(self) -> int:
        return int(self.inputs.size)

    @property
    def groups(self) -> int:
        return len(self.inputs)

    def macs(self, keep: Mask | None = None) -> int:
        """Multiply-adds for one image, of the channels that `keep` (a mask over classes) leaves."""
        if keep is None:
            pairs = self.out_channels * self.in_channels // self.groups
        elif not keep[self.needs].all():
            return 0
        else:
            out = keep[self.outputs].reshape(self.groups, -1).sum(1)
            pairs = int((out * keep[self.inputs].sum(1)).sum())
        gone = 0.0 if keep is None else sum(n * (1 - float(keep[classes].mean())) for n, classes in self.rows)
        return round((self.positions - gone) * pairs * math.prod(self.kernel))


@dataclass(frozen=True, eq=False)
class SignalProduct:
    """Multiply-adds of an operator that belongs to no layer: products of two signals, recurrent layers, and the like.

    Args:
        operator: its name. module: in which it runs. operation: its index among those of the forward pass.
        entry: multiply-adds for one image and for each combination of the planes' channels.
        planes: channel classes along the axes that it runs over; () where what it computes is of fixed size.
    """

    operator: str
    module: str
    operation: int
    entry: float
    planes: tuple[Plane, ...] = ()


@dataclass(frozen=True, eq=False)
class ChannelGroup:
    """Channels that can only be removed together, layer by layer, index by index.

    Args:
        name: its first layer.
        units: the channel classes that make it up, in the order of its first layer's outputs.
        producers: layers whose output channels these are. consumers: layers that read them.
        stream: a sum of several layers' outputs, such as a residual stream.
        reasons: why a unit must stay, by its position in `units`; a unit that is not named may go.
        cells: for every unit the cell it is in; from every cell the same number must go.
    """

    name: str
    units: Plane
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    stream: bool
    reasons: Mapping[int, str]
    cells: Plane

    def __repr__(self) -> str:
        return f"ChannelGroup({self})"

    def __str__(self) -> str:
        layers = f"{len(self.producers)} layer{'s' * (len(self.producers) != 1)}"
        return f"{self.name}: {self.size} channels of {layers}; {self.state}"

    @property
    def size(self) -> int:
        return len(self.units)

    @cached_property
    def free(self) -> Mask:
        """Which units may go."""
        free = np.ones(self.size, dtype=np.bool_)
        free[list(self.reasons)] = False
        return free

    @property
    def reason(self) -> str | None:
        """Why nothing of the group can go, or None."""
        return next(iter(self.reasons.values())) if self.reasons and not self.free.any() else None

    @property
    def state(self) -> str:
        """What may go of the group, in words."""
        if self.reason:
            return self.reason
        words = ["residual stream" if self.stream else "free"]
        cells = len(np.unique(self.cells))
        words += [f"in equal numbers from {cells} parts"] if cells > 1 else []
        if self.reasons:
            words.append(f"but {len(self.reasons)} that stay: {next(iter(self.reasons.values()))}")
        return ", ".join(words)

    def steps(self, order: Plane) -> Plane:
        """What to remove, step by step: the next free unit of every cell.

        Args:
            order: positions of units, first to go first.

        Returns:
            Positions, [steps, cells]; each step keeps the cells balanced.
        """
        order = order[self.free[order]]
        queues = [order[self.cells[order] == cell] for cell in np.unique(self.cells)]
        return np.stack([queue[: min(map(len, queues))] for queue in queues], axis=1).astype(np.int64)


@dataclass(frozen=True, eq=False)
class ChannelGraph:
    """Layers, tied channels, and the parameters that they index.

    Args:
        model: the traced model itself.
        example: the shapes of the example's tensors. inputs: the example itself. images: how many it holds.
        layers: in the order in which the forward pass uses them.
        groups: of channels; in the order of their first layers.
        parameters: for every parameter and buffer its planes of channel classes.
        classes: number of channel classes.
        sizes: module -> attribute -> the classes that it counts.
        products: multiply-adds of operators that belong to no layer.
        uncounted: operators that multiply, nobody knows how often, with the number of their calls.
        notes: remarks for the user. labels: class of every label of the trace.
        forward: the operators of a forward pass, with the labels of what they give.
        statistics: of every mean or the like of a forward pass, in order, the classes that it runs over, axis by axis.
        branches: residual branches; None where `with_branches` has not looked for them.
        needs: presence classes of the branches that a parameter or buffer is in, by its name.

    Example:
        >>> import torch, reconv
        >>> graph = reconv.trace(reconv.load_model("resnet20"), torch.zeros(1, 3, 32, 32))
        >>> len(graph.layers), len(graph.groups)
        (20, 11)
        >>> graph.groups[0]
        ChannelGroup(conv1: 64 channels of 10 layers; residual stream)
        >>> graph.layer("layer1.0.conv1").macs()
        2359296
    """

    model: nn.Module
    example: tuple[Shape, ...]
    layers: tuple[Layer, ...]
    groups: tuple[ChannelGroup, ...]
    parameters: Mapping[str, tuple[Plane, ...]]
    classes: int
    sizes: Mapping[str, Mapping[str, Counted]]
    uncounted: Mapping[str, int]
    products: tuple[SignalProduct, ...] = ()
    inputs: Any = None
    images: int = 1
    notes: tuple[str, ...] = ()
    labels: Plane = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    forward: tuple[Operation, ...] = ()
    statistics: tuple[tuple[Plane, ...], ...] = ()
    branches: tuple[Branch, ...] | None = None
    needs: Mapping[str, Plane] = field(default_factory=dict)

    def layer(self, name: str) -> Layer:
        return self._layers_by_name[name]

    @cached_property
    def _layers_by_name(self) -> dict[str, Layer]:
        return {layer.name: layer for layer in self.layers}

    @cached_property
    def group_of_class(self) -> Mapping[int, ChannelGroup]:
        return {int(unit): group for group in self.groups for unit in group.units}

    def weight(self, layer: Layer) -> Tensor:
        """The layer's weight, detached: [C_out, C_in / groups, ...]."""
        if layer.weight is not None:
            weight = _tensor(self.model, layer.weight).detach()
            return weight.T if layer.inputs_first else weight
        module = self.model.get_submodule(layer.name)
        computed = getattr(module, "weight", None)
        if not isinstance(computed, Tensor):
            return torch.empty(0)
        return computed.detach()

    def shape(self, parameter: str, keep: Mask | None = None) -> Shape:
        """The shape that a parameter has when only the classes in `keep` are left."""
        full = self._shapes[parameter]
        if keep is None:
            return full
        if not self.has(parameter, keep):
            return (0,) * max(len(full), 1)
        shape = list(full)
        for plane in self.parameters[parameter]:
            kept, axes = keep[plane], axes_of(plane)
            if len(axes) == 1:
                shape[axes[0]] = int(np.count_nonzero(kept))
            else:  # a grouped convolution: every row of its second axis keeps equally many
                shape[axes[1]] = int(kept.reshape(full[axes[0]], -1).sum(1).max(initial=0))
        return tuple(shape)

    def has(self, parameter: str, keep: Mask) -> bool:
        """Whether a parameter or buffer is in no branch that is removed."""
        needs = self.needs.get(parameter)
        return needs is None or bool(keep[needs].all())

    def removed(self, keep: Mask) -> tuple[Branch, ...]:
        """The branches that are removed, those inside others among them."""
        return tuple(b for b in self.branches or () if not b.reason and not keep[b.presence])

    def stand_ins(self, keep: Mask) -> dict[str, int]:
        """What stands in for the modules of the branches that are removed (see `bypass.py`)."""
        return {path: n for branch in self.removed(keep) for path, n in branch.replacements.items()}

    def factors(self, needs: Iterable[int], planes: Sequence[Plane]) -> list[Plane]:
        """The presence classes by which a product of counts of `planes` has to be multiplied, each as a plane: those of
        branches that hold none of the planes, since the count of one that goes with its branch is zero anyway."""
        return [
            np.array([presence])
            for presence in needs
            if not any(np.isin(plane, self._classes_gone[presence]).all() for plane in planes)
        ]

    @cached_property
    def _classes_gone(self) -> dict[int, Plane]:
        return {branch.presence: branch.classes for branch in self.branches or () if not branch.reason}

    def needs_of(self, operation: int, *, memory: bool = False) -> list[int]:
        """Presence classes of the branches that an operator of the forward pass is in.

        Args:
            memory: whether what it gives is in them; without the branch, the stream lives on in place of the sum.
        """
        return [
            branch.presence
            for branch in self.branches or ()
            if not branch.reason and operation in branch.operations and not (memory and operation >= branch.addition)
        ]

    @property
    def trained(self) -> tuple[str, ...]:
        """Names of the parameters, without the buffers."""
        return self._walked[0]

    @property
    def _shapes(self) -> dict[str, Shape]:
        return self._walked[1]

    @cached_property
    def _walked(self) -> tuple[tuple[str, ...], dict[str, Shape]]:
        """Names of the parameters; shapes of these and the buffers: one walk through the model for both."""
        parameters, buffers = parameters_and_buffers(self.model)
        return tuple(parameters), {name: tuple(tensor.shape) for name, tensor in (parameters | buffers).items()}

    def __repr__(self) -> str:
        return limit_lines(self._lines())

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _repr_html_(self) -> str:
        rows = [(group.name, group.size, len(group.producers), group.state) for group in self.groups]
        title = f"{len(self.layers)} layers, {len(self.groups)} groups of channels"
        return html_table(title, ("group", "channels", "layers", "state"), rows, self.notes)

    def _lines(self) -> list[str]:
        counts = f"{len(self.layers)} layers, {len(self.groups)} groups of channels"
        return [counts, *(f"  {group}" for group in self.groups), *(f"  note: {note}" for note in self.notes)]


def _tensor(model: nn.Module, name: str) -> Tensor:
    module, _, attribute = name.rpartition(".")
    tensor: Any = getattr(model.get_submodule(module), attribute)
    return tensor  # type: ignore[no-any-return]
