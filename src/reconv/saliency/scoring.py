"""`score`: one number per channel, by any criterion."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from reconv.conv.norms import ChannelNorms, ConvProblem, channel_norms_of_layers, is_finite
from reconv.errors import ConfigError, GeometryError, WeightsError
from reconv.files import tensors_fingerprint
from reconv.graph.channels import ChannelGraph, Layer
from reconv.graph.copies import parameters_and_buffers
from reconv.html_table import Bar, html_table
from reconv.saliency.criterion import Criterion, GroupContext, LayerContext, criterion_named
from reconv.saliency.inputs import Direction, Gradients, Moments, by_channel

_SHOWN = 16  # layers that a printed Saliency shows


@dataclass(frozen=True, eq=False)
class ScoredWeights:
    """The model whose weights were scored, and for every tensor how often it had been written to by then."""

    model: nn.Module = field(repr=False)
    state: Mapping[str, tuple[Tensor, int]] = field(repr=False)

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


@dataclass(frozen=True, eq=False, repr=False)
class Saliency:
    """One number per channel: the higher, the more it matters.

    Args:
        criterion: its name.
        direction: "forward" scores output channels, "backward" input channels.
        values: layer name -> float64 [C_out] (backward: [C_in]). Norms are sigma, not sigma squared.
        errors: layer name -> estimated relative error of each value, where the criterion gives one.
        algorithms: layer name -> the algorithm that gave each value.
        scored: the weights that were scored, or their fingerprint.

    Example:
        >>> import torch, reconv
        >>> reconv.Saliency("mine", "forward", {"conv": torch.tensor([1.0, 3.0, 2.0])})
        Saliency by mine, forward: 3 channels of 1 layer
          conv: 3 channels, 1 to 3, median 2
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

    def __repr__(self) -> str:
        count, layers = sum(map(len, self.values.values())), len(self.values)
        lines = [
            f"Saliency by {self.criterion}, {self.direction}: {count:,} channels of {layers} layer{'s' * (layers != 1)}"
        ]
        for name, values in list(self.values.items())[:_SHOWN]:
            low, middle, high = (f"{float(value):.4g}" for value in (values.min(), values.median(), values.max()))
            lines.append(f"  {name}: {len(values)} channels, {low} to {high}, median {middle}")
        if layers > _SHOWN:
            lines.append(f"  and {layers - _SHOWN} more layers")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = []
        for name, values in self.values.items():
            low, middle, high = (float(value) for value in (values.min(), values.median(), values.max()))
            rows.append((name, len(values), low, middle, high, Bar(low / high if high > 0 else 0.0)))
        header = ("layer", "channels", "lowest", "median", "highest", "lowest / highest")
        return html_table(f"Scores by {self.criterion}, {self.direction}", header, rows)


def score(
    graph: ChannelGraph,
    criterion: str | Criterion = "nuclear",
    *,
    direction: Direction = "forward",
    exact: bool = False,
    tol: float = 1e-5,
    seed: int = 0,
    moments: Mapping[str, Moments] | None = None,
    gradients: Mapping[str, Gradients] | None = None,
) -> Saliency:
    """Score every channel of every layer by one criterion; arguments and errors as those of `score_all`.

    Example:
        >>> import torch, reconv
        >>> graph = reconv.trace(torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3)), torch.randn(1, 3, 8, 8))
        >>> reconv.score(graph, "l2").values["0"].shape
        torch.Size([8])
    """
    return score_all(
        graph,
        [criterion],
        direction=direction,
        exact=exact,
        tol=tol,
        seed=seed,
        moments=moments,
        gradients=gradients,
    )[0]


def score_all(
    graph: ChannelGraph,
    criteria: Iterable[str | Criterion],
    *,
    direction: Direction = "forward",
    exact: bool = False,
    tol: float = 1e-5,
    seed: int = 0,
    moments: Mapping[str, Moments] | None = None,
    gradients: Mapping[str, Gradients] | None = None,
) -> list[Saliency]:
    """Score every channel by several criteria; the norms share their work.

    Args:
        graph: of the model to score.
        criteria: names or aliases of registered criteria (`reconv list criteria`), or criteria themselves.
        direction: "forward" for output channels, "backward" for input channels.
        exact: norms by the exact algorithms only, however long they take.
        tol: relative error of the norms at most.
        seed: for criteria that draw numbers.
        moments: from `gather_moments`, for criteria that need them.
        gradients: from `gather_gradients`, for criteria that need them.

    Returns:
        One `Saliency` per criterion, in their order. A criterion leaves out layers that it does not apply to.

    Raises:
        UnknownNameError: a criterion that is not registered. WeightsError: NaN or infinite weights, by layer.
        GeometryError: a norm of a three-dimensional convolution. ConfigError: an argument of the wrong kind, or without
            what a criterion needs.

    Example:
        >>> import torch, reconv
        >>> graph = reconv.trace(torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3)), torch.randn(1, 3, 8, 8))
        >>> [scores.criterion for scores in reconv.score_all(graph, ["spec", "L1"])]
        ['spectral', 'l1']
    """
    if not isinstance(graph, ChannelGraph):
        raise ConfigError(f"score: got a {type(graph).__name__}; give the graph of it: reconv.trace(model, example)")
    if isinstance(criteria, str | Criterion):
        raise ConfigError(f"score_all: got {str(criteria)!r}; give a list of criteria, or use score")
    rows = [_row(criterion) for criterion in criteria]
    if direction not in ("forward", "backward"):
        raise ConfigError(f"direction: {direction!r}; give 'forward' or 'backward'")
    for row in rows:
        _check_needs(row, direction, moments, gradients)
    weights = {layer: weight for layer in graph.layers if (weight := graph.weight(layer)).numel()}
    if any(tensor.is_meta for tensor in (*weights.values(), *graph.model.parameters())):
        raise WeightsError(
            "score: the model is on the meta device, which holds shapes and no weights; load weights first "
            "(model.to_empty(device=...), then load_state_dict)"
        )
    if not all(row.norm for row in rows):  # norms look themselves
        for layer, weight in weights.items():
            if not is_finite(weight):
                raise WeightsError(f"{layer.name}: its weights hold NaN or infinity; load a valid checkpoint")
    scored = ScoredWeights.of(graph.model)
    norms = sorted({row.norm for row in rows if row.norm})
    by_layer = _norms(weights, tuple(norms), direction, exact, tol) if norms else {}
    result = []
    for row in rows:
        errors: dict[str, Tensor] = {}
        algorithms: dict[str, tuple[str, ...]] = {}
        if row.norm is not None:
            values = {name: norms_of.values[row.norm] for name, norms_of in by_layer.items()}
            errors = {name: norms_of.errors[row.norm] for name, norms_of in by_layer.items()}
            algorithms = {name: norms_of.algorithms[row.norm] for name, norms_of in by_layer.items()}
        elif row.of_layer is not None:
            values = _by_layer(graph, row, weights, direction, seed, moments, gradients)
        else:
            values = _by_group(graph, row, moments or {}, gradients or {})
        result.append(Saliency(row.name, direction, values, errors, algorithms, scored))
    return result


def _row(criterion: str | Criterion) -> Criterion:
    if isinstance(criterion, Criterion):
        return criterion
    if not isinstance(criterion, str):
        raise ConfigError(f"criterion: got {criterion!r:.60}; give a name such as 'nuclear', or a reconv.Criterion")
    return criterion_named(criterion)


def _check_needs(row: Criterion, direction: Direction, moments: object, gradients: object) -> None:
    if "moments" in row.needs and moments is None:
        raise ConfigError(f"{row.name}: it needs moments; give moments=reconv.gather_moments(graph, images)")
    if "gradients" in row.needs and gradients is None:
        raise ConfigError(f"{row.name}: it needs gradients; give gradients=reconv.gather_gradients(graph, batches)")
    if row.of_group is not None and direction != "forward":
        raise ConfigError(f"{row.name}: it scores channels by all that make and read them; leave direction out")


def _norms(
    weights: Mapping[Layer, Tensor], norms: tuple[str, ...], direction: Direction, exact: bool, tol: float
) -> dict[str, ChannelNorms]:
    """Norms of every layer; a transposed convolution is the transpose of one whose direction is the other."""
    result: dict[str, ChannelNorms] = {}
    for transposed in (False, True):
        layers = [layer for layer in weights if (layer.kind == "conv_transposed") == transposed]
        problems = []
        for layer in layers:
            if layer.geometry is None:
                raise GeometryError(
                    f"{layer.name}: a convolution in three dimensions has no norms here; score it by l1, l2 or fpgm"
                )
            problems.append(ConvProblem(weights[layer], layer.geometry, layer.groups, layer.name))
        if problems:
            side: Direction = "forward" if (direction == "forward") != transposed else "backward"
            computed = channel_norms_of_layers(problems, norms=norms, direction=side, exact=exact, tol=tol)
            result.update(zip((layer.name for layer in layers), computed, strict=True))
    return result


def _by_layer(
    graph: ChannelGraph,
    row: Criterion,
    weights: Mapping[Layer, Tensor],
    direction: Direction,
    seed: int,
    moments: Mapping[str, Moments] | None,
    gradients: Mapping[str, Gradients] | None,
) -> dict[str, Tensor]:
    assert row.of_layer is not None
    values = {}
    for layer, weight in weights.items():
        scale = None
        if layer.norm is not None and direction == "forward":
            scale = graph.model.get_parameter(layer.norm).detach().double()
        context = LayerContext(
            graph,
            layer,
            direction,
            by_channel(weight.double(), layer, direction),
            scale,
            torch.Generator().manual_seed((zlib.crc32(layer.name.encode()) << 16) + seed),
            (moments or {}).get(layer.name),
            (gradients or {}).get(layer.name),
        )
        if any(need in row.needs and getattr(context, need) is None for need in ("moments", "gradients")):
            continue
        if context.gradients is not None and context.gradients.mean.shape != weight.shape:
            raise ConfigError(
                f"{layer.name}: gradients of {tuple(context.gradients.mean.shape)} weights, it has "
                f"{tuple(weight.shape)}; gather them with this graph"
            )
        scores = row.of_layer(context)
        if scores is not None:
            values[layer.name] = _checked(scores, len(context.filters), f"{row.name}: {layer.name}")
    return values


def _by_group(
    graph: ChannelGraph, row: Criterion, moments: Mapping[str, Moments], gradients: Mapping[str, Gradients]
) -> dict[str, Tensor]:
    """Scores of every group that may go, the same for all of its layers."""
    assert row.of_group is not None
    level = torch.full((graph.classes,), torch.nan, dtype=torch.float64)
    for group in graph.groups:
        if not group.reason:
            scores = row.of_group(GroupContext(graph, group, moments, gradients))
            if scores is not None:
                level[group.units] = _checked(scores, group.size, f"{row.name}: {group.name}").cpu()
    values = {}
    for layer in graph.layers:
        scores = level[layer.outputs]
        scored = ~scores.isnan()
        if scored.any():  # a channel that stays counts as the layer's most important one
            values[layer.name] = scores.where(scored, scores[scored].max())
    return values


def _checked(scores: Tensor, size: int, where: str) -> Tensor:
    if not isinstance(scores, Tensor) or scores.shape != (size,):
        got = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise ConfigError(f"{where}: the criterion gives {got}; return one number per channel, a tensor [{size}]")
    return scores.detach().double()
