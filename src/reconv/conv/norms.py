"""From kernels to norms: `channel_norms`, the entry point of this package.

Checks the weights, solves channels of equal geometry together, and returns the norms layer by layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from reconv.conv import taps
from reconv.conv.batch import Chunk, certify, solve_chunk, split_into_chunks
from reconv.conv.frobenius import frobenius_norm
from reconv.conv.geometry import ConvGeometry
from reconv.conv.shapes import Float64
from reconv.conv.solve import Estimate
from reconv.conv.taps import Direction
from reconv.errors import ConfigError, GeometryError, WeightsError, unknown_name
from reconv.threads import map_parts, thread_pool

NORMS = ("spectral", "nuclear", "frobenius")


@dataclass(frozen=True, eq=False)
class ConvProblem:
    """A layer's weight [C_out, C_in/groups, k1, k2] (of a linear layer [C_out, C_in]) and its geometry."""

    weight: Tensor
    geometry: ConvGeometry
    groups: int = 1
    name: str = "weight"


@dataclass(frozen=True, eq=False)
class ChannelNorms:
    """The norms of every channel of a layer, their estimated errors, and the algorithms.

    Attributes:
        values: norm name -> [channels], float64. Norms, not their squares.
        errors: norm name -> [channels], float64: estimated relative error of each value.
        algorithms: norm name -> the algorithm's name, one per channel.
    """

    values: Mapping[str, Float64[Tensor, "channels"]]
    errors: Mapping[str, Float64[Tensor, "channels"]]
    algorithms: Mapping[str, tuple[str, ...]]

    def __getitem__(self, norm: str) -> Float64[Tensor, "channels"]:
        return self.values[norm]


def channel_norms(
    weight: Tensor,
    geometry: ConvGeometry,
    *,
    norms: Sequence[str] = NORMS,
    direction: Direction = "forward",
    groups: int = 1,
    exact: bool = False,
    tol: float = 1e-5,
    name: str = "weight",
) -> ChannelNorms:
    """Spectral, nuclear and Frobenius norm of every channel's convolution matrix.

    Forward, channel o's matrix maps the layer's input (the group's, with groups) to output map o. Backward,
    channel c's matrix maps input map c to all the outputs that it feeds. For a transposed convolution the
    roles are swapped: give its weight as it is, the geometry of the convolution that it transposes (whose
    *input* is the transposed layer's output), and "backward" for its output channels, "forward" for its input
    channels.

    Args:
        weight: [C_out, C_in/groups, k1, k2]; [C_out, C_in/groups, k] and [C_out, C_in] are taken as 1-D and
            linear. Any floating dtype, any device.
        geometry: of the convolution, `ConvGeometry.of(module, input_size)`.
        norms: some of "spectral", "nuclear", "frobenius".
        direction: "forward" for output channels, "backward" for input channels.
        groups: of the convolution.
        exact: dense, or an exact algorithm of a large map (`seam`, `cut`), at any cost; spectral norms proven.
        tol: largest relative error of the nuclear norm; the other norms are more accurate.
        name: of the layer, for error messages.

    Returns:
        `ChannelNorms` with [C_out] values each (backward [C_in]), float64, on the weight's device.

    Raises:
        WeightsError: NaN or infinity among the weights. GeometryError: a weight whose kernel is not the
        geometry's, or whose channels the groups do not divide. UnknownNameError: an unknown norm or
        direction.

    Source: Sun & Shi, "Towards Better Structured Pruning Saliency by Reorganizing Convolution", WACV 2024;
    for strides above one they take the stride-1 operator on the output map, here it is the layer's own.

    Example:
        >>> import torch, reconv
        >>> norms = reconv.channel_norms(torch.ones(2, 3, 1, 1), reconv.ConvGeometry(input_size=8, kernel=1))
        >>> norms["spectral"]
        tensor([1.7321, 1.7321], dtype=torch.float64)
    """
    problem = ConvProblem(weight, geometry, groups, name)
    return channel_norms_of_layers([problem], norms=norms, direction=direction, exact=exact, tol=tol)[0]


def channel_norms_of_layers(
    problems: Sequence[ConvProblem],
    *,
    norms: Sequence[str] = NORMS,
    direction: Direction = "forward",
    exact: bool = False,
    tol: float = 1e-5,
) -> list[ChannelNorms]:
    """`channel_norms` of many layers; channels of all layers with the same geometry go through in one batch."""
    for norm in norms:
        if norm not in NORMS:
            raise unknown_name("norm", norm, NORMS)
    if direction not in ("forward", "backward"):
        raise unknown_name("direction", direction, ("forward", "backward"))
    if not 0 < tol < 1:
        raise ConfigError(f"tol: {tol}; a relative error lies between 0 and 1, for example 1e-5.")
    weights = [_stacked_weight(problem, direction) for problem in problems]
    if set(norms) == {"frobenius"}:
        return [_frobenius_only(weight, problem.geometry) for weight, problem in zip(weights, problems)]
    # With one stacked channel the matrix is the transpose of the other direction's: the smaller side is
    # taken.
    sides: list[Direction] = ["forward" if weight.shape[1] == 1 else direction for weight in weights]
    kinds = [(problem.geometry, side, weight.device) for problem, side, weight in zip(problems, sides, weights)]
    threads = all(weight.device.type == "cpu" for weight in weights)
    workers = torch.get_num_threads() if threads else 1
    with torch.no_grad(), thread_pool() if threads else nullcontext():
        grams = list(map_parts(taps.tap_gram, weights))
        parts = split_into_chunks(kinds, grams, workers)
        solved = list(map_parts(lambda part: solve_chunk(part, norms, exact=exact, tol=tol), parts))
    return _collect(grams, norms, zip(parts, solved))


def _frobenius_only(weight: Tensor, geometry: ConvGeometry) -> ChannelNorms:
    """The Frobenius norms, which need no Gram matrices."""
    value = frobenius_norm(taps.tap_energy(weight), geometry)
    alive = value > 0
    names = tuple(map(("zero", "closed form").__getitem__, alive.tolist()))
    return ChannelNorms({"frobenius": value}, {"frobenius": 1e-15 * alive.double()}, {"frobenius": names})


def spectral_bounds(
    weight: Tensor,
    geometry: ConvGeometry,
    *,
    direction: Direction = "forward",
    groups: int = 1,
    rtol: float = 1e-6,
    name: str = "weight",
) -> tuple[Float64[Tensor, "channels"], Float64[Tensor, "channels"]]:
    """A proven bracket of every channel's spectral norm.

    The lower end is a Rayleigh quotient. The upper one is `1 + rtol` times that, where a Cholesky
    factorization proves it, and else the maximum of the symbol; see `certificate`.

    Args:
        weight, geometry, direction, groups, name: as for `channel_norms`.
        rtol: width of the bracket, relative.

    Returns:
        (lower, upper), [channels] float64 each.
    """
    problem = ConvProblem(weight, geometry, groups, name)
    value = channel_norms_of_layers([problem], norms=("spectral",), direction=direction)[0]["spectral"]
    with torch.no_grad():
        gram = taps.tap_gram(_stacked_weight(problem, direction))
        return value, certify(gram, geometry, direction, value, rtol)


def _collect(
    grams: Sequence[Tensor], norms: Sequence[str], solved: Iterable[tuple[Chunk, dict[str, Estimate]]]
) -> list[ChannelNorms]:
    """The norms of every layer, from the estimates of all chunks."""
    empty = [{norm: torch.zeros_like(gram[:, 0, 0]) for norm in norms} for gram in grams]
    results = [ChannelNorms(values, {k: v.clone() for k, v in values.items()}, {}) for values in empty]
    names = [{norm: [""] * len(gram) for norm in norms} for gram in grams]
    for chunk, estimates in solved:
        for layer in chunk.owner[:, 0].unique().tolist():
            members = torch.nonzero(chunk.owner[:, 0] == layer)[:, 0]
            channel = chunk.owner[members, 1]
            for norm, estimate in estimates.items():
                value, error = (
                    estimate.value[members.to(estimate.value.device)],
                    estimate.error[members.to(estimate.value.device)],
                )
                results[layer].values[norm][channel] = value
                results[layer].errors[norm][channel] = error / value.where(value > 0, 1)
                for i, c in zip(members.tolist(), channel.tolist()):
                    names[layer][norm][c] = estimate.algorithm[i]
    return [
        ChannelNorms(norms_.values, norms_.errors, {norm: tuple(name) for norm, name in named.items()})
        for norms_, named in zip(results, names)
    ]


def is_finite(weight: Tensor) -> bool:
    """Whether no entry is NaN or infinite: of a tensor that holds one, neither the sum nor the extremes are finite."""
    if weight.numel() == 0 or bool(weight.sum().isfinite()):
        return True
    return bool(torch.stack(weight.aminmax()).isfinite().all())  # finite numbers may have an infinite sum


def _stacked_weight(problem: ConvProblem, direction: Direction) -> Tensor:
    """The weight, checked, as [channels of interest, stacked channels, k1, k2]."""
    weight, geometry, groups = problem.weight.detach(), problem.geometry, problem.groups
    if weight.ndim == 2:
        weight = weight[:, :, None, None]
    elif weight.ndim == 3:
        weight = weight[:, :, None]
    if weight.ndim != 4 or tuple(weight.shape[2:]) != geometry.kernel:
        raise GeometryError(
            f"{problem.name}: a weight of shape {tuple(problem.weight.shape)} with a geometry for {geometry.kernel} "
            "kernels; give the geometry of this layer, `ConvGeometry.of(module, input_size)`."
        )
    if not is_finite(weight):
        raise WeightsError(f"{problem.name}: its weights hold NaN or infinity; load a valid checkpoint")
    if groups < 1 or len(weight) % groups:
        raise GeometryError(
            f"{problem.name}: {groups} groups do not divide {len(weight)} output channels; give the layer's `groups`."
        )
    if direction == "forward":
        return weight
    by_group = weight.reshape(groups, -1, *weight.shape[1:])
    return by_group.transpose(1, 2).flatten(0, 1)
