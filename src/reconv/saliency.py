"""How much each channel matters: the table of criteria, and `score`.

A criterion is one row of `CRITERIA`. To add one, write a function of a `LayerView` that returns one number a channel
and register it; everything else (command line, plans, studies) knows it from then on.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from reconv.conv.norms import ChannelNorms, ConvProblem, channel_norms_of_layers, is_finite
from reconv.errors import ConfigError, GeometryError, WeightsError, unknown_name
from reconv.files import tensors_fingerprint
from reconv.graph.channels import ChannelGraph, Layer
from reconv.graph.copies import parameters_and_buffers
from reconv.registry import load_extensions

Direction: TypeAlias = Literal["forward", "backward"]


@dataclass(frozen=True, eq=False)
class ScoredWeights:
    """The model whose weights were scored, and for every tensor how often it had been written to by then."""

    model: nn.Module
    state: Mapping[str, tuple[Tensor, int]]

    @classmethod
    def of(cls, model: nn.Module) -> ScoredWeights:
        return cls(model, _state(model))

    def fingerprint(self) -> str:
        """Of the weights; "" where they have been written to since, or replaced."""
        now = _state(self.model)
        same = now.keys() == self.state.keys() and all(
            tensor is then and version == version_then
            for (tensor, version), (then, version_then) in zip(now.values(), self.state.values(), strict=True)
        )
        return tensors_fingerprint(self.model.state_dict()) if same else ""


def _state(model: nn.Module) -> dict[str, tuple[Tensor, int]]:
    parameters, buffers = parameters_and_buffers(model)
    return {name: (t, 0 if t.is_inference() else t._version) for name, t in (parameters | buffers).items()}


@dataclass(frozen=True, eq=False)
class Saliency:
    """One number a channel: the higher, the more it matters.

    Args:
        criterion: its name in `CRITERIA`.
        direction: "forward" scores output channels, "backward" input channels.
        values: layer name -> float64 [C_out] (backward: [C_in]). Norms are sigma, not sigma squared.
        errors: layer name -> estimated relative error of each value, where the criterion gives one.
        algorithms: layer name -> the algorithm that gave each value.
        scored: the weights that were scored, or their fingerprint.
    """

    criterion: str
    direction: Direction
    values: Mapping[str, Tensor]
    errors: Mapping[str, Tensor] = field(default_factory=dict)
    algorithms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    scored: ScoredWeights | str = ""

    @cached_property
    def weights(self) -> str:
        """Fingerprint of the weights that were scored; "" where nobody knows it, or they were written to since."""
        return self.scored if isinstance(self.scored, str) else self.scored.fingerprint()


@dataclass(frozen=True)
class LayerView:
    """What a criterion sees of one layer.

    Args:
        name: of the layer.
        filters: float64 [C, n]: all weights that belong to each channel.
        scale: the BatchNorm's scale that follows, [C], or None.
        generator: seeded for this layer.
    """

    name: str
    filters: Tensor
    scale: Tensor | None
    generator: torch.Generator


@dataclass(frozen=True)
class Criterion:
    """A row of the table: a norm of the reorganized convolution, or a function of one layer."""

    name: str
    meaning: str
    aliases: tuple[str, ...] = ()
    norm: str | None = None
    of_layer: Callable[[LayerView], Tensor | None] | None = None


def _l1(layer: LayerView) -> Tensor:
    return layer.filters.abs().sum(1)


def _l2(layer: LayerView) -> Tensor:
    return layer.filters.square().sum(1).sqrt()


def _geometric_median(layer: LayerView) -> Tensor:
    # A filter near the geometric median of all filters is the one that the others can replace.
    return torch.cdist(layer.filters, layer.filters, compute_mode="donot_use_mm_for_euclid_dist").sum(1)


def _batchnorm_scale(layer: LayerView) -> Tensor | None:
    return None if layer.scale is None else layer.scale.abs()


def _random(layer: LayerView) -> Tensor:
    return torch.rand(len(layer.filters), generator=layer.generator, dtype=torch.float64)


CRITERIA: dict[str, Criterion] = {
    row.name: row
    for row in (
        Criterion(
            "spectral",
            "largest singular value of the channel's convolution matrix",
            ("spec",),
            norm="spectral",
        ),
        Criterion("nuclear", "sum of the singular values of that matrix", ("nuc",), norm="nuclear"),
        Criterion("frobenius", "root of the sum of their squares", ("fro",), norm="frobenius"),
        Criterion("l1", "sum of the absolute weights (Li et al. 2017)", ("L1",), of_layer=_l1),
        Criterion("l2", "Euclidean norm of the weights", ("L2",), of_layer=_l2),
        Criterion(
            "fpgm",
            "sum of distances to the layer's other filters (He et al. 2019)",
            ("FPGM",),
            of_layer=_geometric_median,
        ),
        Criterion(
            "bn_scale",
            "absolute scale of the BatchNorm that follows (Liu et al. 2017)",
            ("bn",),
            of_layer=_batchnorm_scale,
        ),
        Criterion("random", "uniform random numbers, seeded", (), of_layer=_random),
    )
}


def register_criterion(criterion: Criterion) -> None:
    """Add a row to the table."""
    CRITERIA[criterion.name] = criterion


def criterion_named(name: str) -> Criterion:
    """The row with this name or alias, whatever its case.

    Raises:
        UnknownNameError: no row has it; the nearest names are offered.
    """
    load_extensions()
    by_name = {n.lower(): row for row in CRITERIA.values() for n in (row.name, *row.aliases)}
    try:
        return by_name[name.lower()]
    except KeyError:
        raise unknown_name("criterion", name, by_name) from None


def score(graph: ChannelGraph, norm: str = "nuclear", **options: object) -> Saliency:
    """Score every channel of every layer by one criterion; see `score_all` for the options."""
    return score_all(graph, (norm,), **options)[0]  # type: ignore[arg-type]


def score_all(
    graph: ChannelGraph,
    criteria: Iterable[str],
    *,
    direction: Direction = "forward",
    exact: bool = False,
    tol: float = 1e-5,
    seed: int = 0,
) -> list[Saliency]:
    """Score every channel by several criteria; the norms share their work.

    Args:
        graph: of the model to score.
        criteria: names or aliases in `CRITERIA`.
        direction: "forward" for output channels, "backward" for input channels.
        exact: norms by the exact algorithms only, however long they take.
        tol: relative error asked of the norms.
        seed: for criteria that draw numbers.

    Returns:
        One `Saliency` a criterion, in their order.

    Raises:
        UnknownNameError: a criterion that is in no row. WeightsError: NaN or infinite weights, by layer.
        GeometryError: a norm of a three-dimensional convolution.
    """
    rows = [criterion_named(name) for name in criteria]
    if direction not in ("forward", "backward"):
        raise ConfigError(f"direction: {direction!r}; give 'forward' or 'backward'")
    weights = {layer: weight for layer in graph.layers if (weight := graph.weight(layer)).numel()}
    if not all(row.norm for row in rows):  # norms look themselves
        for layer, weight in weights.items():
            if not is_finite(weight):
                raise WeightsError(f"{layer.name}: its weights hold NaN or infinity; load a sound checkpoint")
    scored = ScoredWeights.of(graph.model)
    norms = sorted({row.norm for row in rows if row.norm})
    by_layer = _norms(weights, tuple(norms), direction, exact, tol) if norms else {}
    result = []
    for row in rows:
        if row.norm is not None:
            values = {name: found.values[row.norm] for name, found in by_layer.items()}
            errors = {name: found.errors[row.norm] for name, found in by_layer.items()}
            algorithms = {name: found.algorithms[row.norm] for name, found in by_layer.items()}
            result.append(Saliency(row.name, direction, values, errors, algorithms, scored))
        else:
            single = {layer.name: _of_layer(graph, row, layer, direction, seed) for layer in weights}
            values = {name: value for name, value in single.items() if value is not None}
            result.append(Saliency(row.name, direction, values, scored=scored))
    return result


def _norms(
    weights: Mapping[Layer, Tensor], norms: tuple[str, ...], direction: Direction, exact: bool, tol: float
) -> dict[str, ChannelNorms]:
    """Norms of every layer; a transposed convolution is the transpose of one whose direction is the other."""
    result: dict[str, ChannelNorms] = {}
    for transposed in (False, True):
        chosen = [layer for layer in weights if (layer.kind == "conv_transposed") == transposed]
        problems = []
        for layer in chosen:
            if layer.geometry is None:
                raise GeometryError(
                    f"{layer.name}: a convolution in three dimensions has no norms here; score it by l1, l2 or fpgm"
                )
            problems.append(ConvProblem(weights[layer], layer.geometry, layer.groups, layer.name))
        towards: Direction = direction if not transposed else ("backward" if direction == "forward" else "forward")
        found = (
            channel_norms_of_layers(problems, norms=norms, direction=towards, exact=exact, tol=tol) if problems else []
        )
        result.update(zip((layer.name for layer in chosen), found, strict=True))
    return result


def _of_layer(graph: ChannelGraph, row: Criterion, layer: Layer, direction: Direction, seed: int) -> Tensor | None:
    assert row.of_layer is not None
    weight = graph.weight(layer).double()
    generator = torch.Generator().manual_seed((zlib.crc32(layer.name.encode()) << 16) + seed)
    scale = None
    if layer.norm is not None and direction == "forward":
        scale = graph.model.get_parameter(layer.norm).detach().double()
    view = LayerView(layer.name, _filters(weight, layer, direction), scale, generator)
    return row.of_layer(view)


def _filters(weight: Tensor, layer: Layer, direction: Direction) -> Tensor:
    """The weights of every output channel (backward: input channel) in a row."""
    transposed = layer.kind == "conv_transposed"
    if (direction == "forward") != transposed:
        return weight.flatten(1)
    # The axis inside the groups: [g, first / g, second, ...] -> [g * second, ...]
    by_group = weight.reshape(layer.groups, -1, *weight.shape[1:])
    return by_group.transpose(1, 2).flatten(0, 1).flatten(1)
