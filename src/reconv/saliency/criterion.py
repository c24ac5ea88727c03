"""What a criterion is, what it may look at, and the registry of all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from reconv.errors import ConfigError, unknown_name
from reconv.graph.channels import ChannelGraph, ChannelGroup, Layer
from reconv.registry import Registry
from reconv.saliency.inputs import Direction, Gradients, Moments, by_channel

Need: TypeAlias = Literal["weights", "moments", "gradients", "seed"]


@dataclass(frozen=True, eq=False)
class LayerContext:
    """What a criterion sees of one layer.

    Args:
        graph, layer: the layer, with its kind, groups and measured geometry, and the graph that it is of.
        direction: "forward" wants a score of every output channel, "backward" of every input channel.
        filters: float64 [C, n], all weights that belong to each channel.
        scale: the BatchNorm's scale that follows, [C], or None.
        generator: seeded for this layer.
        moments, gradients: of this layer, where the criterion needs them; else None.
    """

    graph: ChannelGraph
    layer: Layer
    direction: Direction
    filters: Tensor
    scale: Tensor | None
    generator: torch.Generator
    moments: Moments | None = None
    gradients: Gradients | None = None

    @property
    def name(self) -> str:
        """The layer's dotted name."""
        return self.layer.name

    @property
    def module(self) -> nn.Module:
        """The module that holds the weight."""
        return self.graph.model.get_submodule(self.layer.name)

    @property
    def gradient(self) -> Tensor:
        """[C, n]: mean gradient of the loss by each of `filters`."""
        return by_channel(self._gradients.mean, self.layer, self.direction)

    @property
    def squared_gradient(self) -> Tensor:
        """[C, n]: mean over the batches of the squared gradient by each of `filters`."""
        return by_channel(self._gradients.square, self.layer, self.direction)

    @property
    def squared_gate_gradient(self) -> Tensor:
        """[C]: mean over the batches of the squared derivative by a factor on each channel."""
        return self._gradients.output_gate if self.direction == "forward" else self._gradients.input_gate

    @property
    def _gradients(self) -> Gradients:
        if self.gradients is None:
            raise ConfigError('criterion: it reads gradients but does not say so; give needs={"gradients"}')
        return self.gradients


@dataclass(frozen=True, eq=False)
class GroupContext:
    """What a criterion sees of one group of channels that go together.

    Args:
        graph, group: the group, with its units and the layers that make and read them, and the graph that it is of.
        moments, gradients: by layer, where the criterion needs them; else empty.
    """

    graph: ChannelGraph
    group: ChannelGroup
    moments: Mapping[str, Moments]
    gradients: Mapping[str, Gradients]


@dataclass(frozen=True)
class Criterion:
    """A rule that scores channels: of one layer, of one group, or a norm of the channel's convolution matrix.

    Args:
        name, aliases: what it is called.
        meaning: what the score is, in half a sentence.
        needs: of "weights", "moments", "gradients", "seed"; a layer for which one is missing is not scored.
        source: the paper.
        unit: of the score.
        of_layer: the scores of a layer's channels, [C], or None where it does not apply.
        of_group: the scores of a group's units, float64 [units], or None.
        norm: "spectral", "nuclear" or "frobenius", computed for all layers at once.

    Raises:
        ConfigError: not exactly one of `of_layer`, `of_group`, `norm`; or an unknown need.

    Example:
        >>> import torch, reconv
        >>> peak = reconv.Criterion("peak", "largest weight", of_layer=lambda layer: layer.filters.abs().amax(1))
        >>> graph = reconv.trace(torch.nn.Sequential(torch.nn.Linear(4, 2)), torch.randn(1, 4))
        >>> reconv.score(graph, peak).values["0"].shape
        torch.Size([2])
    """

    registry: ClassVar[Registry[Criterion]] = Registry(
        "criterion", built_in=("reconv.saliency.criteria", "reconv.refit.criteria")
    )

    name: str
    meaning: str
    aliases: tuple[str, ...] = ()
    needs: AbstractSet[Need] = frozenset({"weights"})
    source: str = ""
    unit: str = ""
    of_layer: Callable[[LayerContext], Tensor | None] | None = None
    of_group: Callable[[GroupContext], Tensor | None] | None = None
    norm: str | None = None

    def __post_init__(self) -> None:
        if [self.of_layer, self.of_group, self.norm].count(None) != 2:
            raise ConfigError(f"criterion {self.name}: give exactly one of of_layer=, of_group= and norm=")
        for need in self.needs:
            if need not in get_args(Need):
                raise unknown_name(f"criterion {self.name}: need", need, get_args(Need))

    def __str__(self) -> str:
        return self.name


def criterion_named(name: str) -> Criterion:
    """The criterion with this name or alias, whatever its case.

    Raises:
        UnknownNameError: no criterion has it; the nearest names are offered.
    """
    return Criterion.registry[name]
