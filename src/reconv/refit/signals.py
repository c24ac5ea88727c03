"""The Gaussian fields of a network's signals, followed through one forward pass at the level of torch's functions.

Copies of a network that differ in their weights only are followed side by side, as one network of as many times the
channels, so that the moments between them are known too. What passes through an operation that is not understood here
is unknown behind it, up to the next layer with a BatchNorm.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from reconv.graph.channels import ChannelGraph
from reconv.modes import evaluating
from reconv.refit import norms
from reconv.refit.chains import Chain, Follower, LayerUse, find_chains, layer_names, step_of
from reconv.refit.fields import HINGES, Field, kernel_by_frequency, power_law, with_constant
from reconv.refit.rows import output_positions, tap_offsets, tap_table, to_matrix

_EXPONENTS = (0.0, 0.5, 1.0, 1.25, 1.5, 1.75, 2.0, 2.25, 2.5, 2.75, 3.0, 3.5)
_ALIKE = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98)  # correlations of two channels
_LARGEST_SIDE = 32  # of the torus; a larger map is followed as a piece of it
_LARGEST_INPUTS = 10_000
_RIDGE = 1e-3  # of the outputs' covariance
_LARGEST_FIELD = 1 << 26  # numbers in a covariance; a wider signal is not followed


@dataclass(frozen=True, eq=False)
class Seen:
    """What is known where a layer is reached.

    Args:
        grams: of what each of its groups reads in all networks side by side, and of a constant.
        matrix: of layer and BatchNorm, [groups, inputs (+ constant), outputs]. constant: whether it has one.
        taps: inputs that belong to one channel.
    """

    chain: Chain
    grams: list[Tensor]
    matrix: Tensor
    constant: bool
    taps: int


def follow(graph: ChannelGraph, model: nn.Module, copies: int, visit: Callable[[Seen], Tensor]) -> SignalFollower:
    """Follow the signals of `copies` of a network side by side through one pass of it, whose values do not matter."""
    if next(model.parameters()).device.type != "cpu":
        model = copy.deepcopy(model).cpu()
    with evaluating(model), torch.no_grad():
        like = next(p for p in model.parameters() if p.is_floating_point())
        images = like.new_zeros(2, *graph.example[0][1:])
        chains, left = find_chains(graph, model, images)
        follower = SignalFollower(graph, model, chains, copies, visit)
        follower.left = left
        with follower:
            model(images)
    return follower


class SignalFollower(Follower):
    """Knows the field of every signal of which the network's numbers tell."""

    def __init__(
        self,
        graph: ChannelGraph,
        model: nn.Module,
        chains: Mapping[str, Chain],
        copies: int,
        visit: Callable[[Seen], Tensor],
    ):
        super().__init__(layer_names(graph, model), chains)
        self.copies, self.visit = copies, visit
        self.modules: dict[str, Any] = dict(model.named_modules())
        self.fields: Any = WeakTensorKeyDictionary()
        self.energy: dict[str, float] = {}
        self.left: dict[str, str] = {}
        self._ends: list[tuple[str, Tensor]] = []
        self._done = {id(self.modules[chain.norm].running_mean) for chain in chains.values() if chain.norm}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = super().__torch_function__(func, types, args, kwargs)
        if isinstance(result, Tensor) and LayerUse.of(func, args, kwargs) is None:
            field = self._passed(func, args, kwargs, result)
            if field is not None:
                self.fields[result] = field
            else:
                self.fields.pop(result, None)
        for name, signal in self._ends:
            if signal in self.fields:
                field = self.fields[signal]
                self.energy[name] = float(field.mean.square().sum() + field.variance.sum())
        self._ends.clear()
        return result

    def on_end(self, chain: Chain, signal: Tensor) -> Tensor:
        self._ends.append((chain.layer, signal))
        return signal

    def on_layer(self, chain: Chain, use: LayerUse, run: Any) -> Tensor:
        x, signal = use.input, run()
        norm = self.modules[chain.norm] if chain.norm else None
        plane = (use.kind, x.dim()) in (("conv", 4), ("linear", 2))
        field = self.fields.get(x)
        known = field is not None
        if plane and field is None and norm is not None:
            field = self._guess(use, norm)
        if plane and field is not None and self._followed(use, field):
            self.fields[signal] = self._layer(chain, use, field, norm, known)
        return signal  # type: ignore[no-any-return]

    def _followed(self, use: LayerUse, field: Field) -> bool:
        channels = self.copies * max(use.weight.shape[0], use.weight.shape[1] * use.groups)
        inputs = use.weight[0].numel()
        return inputs <= _LARGEST_INPUTS and field.size[0] * field.size[1] * channels**2 <= _LARGEST_FIELD

    def _layer(self, chain: Chain, use: LayerUse, field: Field, norm: Any, known: bool) -> Field:
        """The field behind a layer and its BatchNorm."""
        module, spatial = self.modules[chain.layer], output_positions(use.output_size(), use.kind)
        matrix = norms.read(module.weight, module.bias, norm, use.kind, use.groups)
        plain = to_matrix(module.weight.detach().double(), use.kind, use.groups)
        constant = matrix.shape[1] > plain.shape[1]
        shifts, inside = [(0, 0)], matrix.new_ones(1, 1)
        if use.kind == "conv":
            held = (tap_table(use, spatial) < use.input.shape[2:].numel()).double()
            shifts, inside = tap_places(use), held.T @ held / len(held)
        channels = torch.arange(len(field.mean)).reshape(self.copies, use.groups, -1)
        grams = [field.gram(shifts, inside, channels[:, g].flatten()) for g in range(use.groups)]
        if norm is not None:
            bias = 0 if module.bias is None else module.bias.detach().double()
            means = (norm.running_mean.double() - bias).reshape(use.groups, -1)
            variances = norm.running_var.double().reshape(use.groups, -1)
            given = zip(grams, plain, means, variances, strict=True)
            grams = [given_norm(gram, weight, mean, variance) for gram, weight, mean, variance in given]
        copies = [matrix] * self.copies
        if known:
            copies[-1] = self.visit(Seen(chain, grams, matrix, constant, len(shifts)))
        return self._behind(field, norm, copies, grams, (shifts, use.arguments.get("stride", 1), constant))

    def _behind(
        self, field: Field, norm: Any, copies: list[Tensor], grams: list[Tensor], how: tuple[Any, Any, bool]
    ) -> Field:
        shifts, stride, constant = how
        groups, size, outputs = copies[0].shape
        reads = size - constant
        weight, mean = [], []
        for i, matrix in enumerate(copies):
            linear = matrix[:, :reads].reshape(groups, -1, len(shifts), outputs).permute(0, 3, 1, 2)
            dense = linear.new_zeros(groups, outputs, groups, *linear.shape[2:])
            dense[torch.arange(groups), :, torch.arange(groups)] = linear
            weight.append(dense.flatten(2, 3).flatten(0, 1))
            middle = [gram[-1, i * reads : (i + 1) * reads] @ m[:reads] for gram, m in zip(grams, matrix, strict=True)]
            mean.append(torch.stack(middle).flatten() + (matrix[:, -1].flatten() if constant else 0))
        steps = (stride, stride) if isinstance(stride, int) else tuple(stride)
        kernels = [kernel_by_frequency(w, shifts, field.size) for w in weight]
        kernel = _side_by_side(kernels)
        signal = field.mapped(kernel, torch.cat(mean))
        if norm is not None:  # the running variances are right; the field's are off by a factor a channel
            scale = norms.affine(norm, mean[0])[0].square() * norm.running_var.double()
            factor = (scale / signal.variance[: len(scale)].clamp(min=1e-300)).sqrt()
            factor = torch.where(signal.variance[: len(scale)] > 1e-12 * scale, factor, 1.0).repeat(self.copies)
            covariance = signal.covariance * (factor[:, None] * factor)
            signal = Field(signal.mean, covariance, field, kernel * factor[:, None])
        return signal.strided(steps)

    def _guess(self, use: LayerUse, norm: Any) -> Field:
        """What is unknown: the power law and correlation under which the BatchNorm behind is likeliest."""
        channels = use.weight.shape[1] * use.groups
        sides = [min(n, _LARGEST_SIDE) for n in use.input.shape[2:]] if use.kind == "conv" else [1, 1]
        size = sides[0], sides[1]
        shifts = tap_places(use) if use.kind == "conv" else [(0, 0)]
        weight, wanted = use.weight.detach().double().flatten(2), norm.running_var.double()
        if weight.dim() == 2:
            weight = weight[..., None]
        kernel = kernel_by_frequency(weight, shifts, size)
        energies = kernel.abs().square().sum(3), kernel.sum(3).abs().square()
        alive, best = wanted > 1e-9 * wanted.max(), (float("inf"), 0.0, 0.0, 1.0)
        for exponent in _EXPONENTS:
            law = power_law(exponent, size, wanted.device)[..., None]
            apart, together = (torch.fft.irfft2(law * e, s=size, dim=(0, 1))[0, 0].clamp(min=0) for e in energies)
            for alike in _ALIKE:
                ratio = (wanted / ((1 - alike) * apart + alike * together).clamp(min=1e-300))[alive].log()
                spread = float(ratio.std()) if len(ratio) > 1 else 0.0
                if spread < best[0] and bool(ratio.isfinite().all()):
                    best = spread, exponent, alike, float(ratio.mean().exp())
        _, exponent, alike, scale = best
        law = torch.fft.irfft2(power_law(exponent, size, wanted.device), s=size)
        colors = alike + (1 - alike) * torch.eye(channels, dtype=law.dtype, device=law.device)
        covariance = scale * law[:, :, None, None] * colors.repeat(self.copies, self.copies)
        return Field(covariance.new_zeros(self.copies * channels), covariance)

    def _passed(self, func: Any, args: Any, kwargs: Mapping[str, Any], result: Tensor) -> Field | None:
        """The field of a function's result; None where nothing is known of it."""
        name, step = getattr(func, "__name__", ""), step_of(func, args, kwargs)
        operands: list[Field | None] = [
            self.fields.get(t) if isinstance(t, Tensor) else None for t in (*args, *kwargs.values())
        ]
        field = operands[0] if operands else None
        if field is None:
            return None
        x = args[0] if args else next(iter(kwargs.values()))
        if step == "add":
            other = operands[1]
            return None if other is None or field.size != other.size else field.plus(other)
        if step == "norm":
            return self._normalized(field, args, kwargs)
        if step == "pass":
            return field
        if name in HINGES:
            return field.activated(HINGES[name])
        if name in ("adaptive_avg_pool2d", "mean") and x.dim() == 4 and result.numel() == x.shape[0] * x.shape[1]:
            return field.averaged() if result.shape[:2] == x.shape[:2] else None
        if name in ("flatten", "reshape", "view", "squeeze") and field.size == (1, 1) and result.dim() == 2:
            return field if result.shape == x.shape[:2] else None
        if name == "avg_pool2d" and result.shape[2] and x.dim() == 4:
            return self._pooled(field, x, *args[1:], **{k: v for k, v in kwargs.items() if k != "input"})
        if name == "pad" and x.dim() == 4 and result.shape[2:] == x.shape[2:] and _pads_zeros(args, kwargs):
            first = (args[1] if len(args) > 1 else kwargs["pad"])[4]
            place = torch.zeros(result.shape[1], x.shape[1], dtype=torch.complex128)
            place[first : first + x.shape[1]] = torch.eye(x.shape[1])
            kernel = _side_by_side([place[None, None]] * self.copies)
            return field.mapped(kernel, (kernel[0, 0].real @ field.mean))
        if name == "__getitem__" and x.dim() == result.dim() == 4 and result.shape[:2] == x.shape[:2]:
            return _sliced(field, args[1])
        return None

    def _normalized(self, field: Field, args: Any, kwargs: Mapping[str, Any]) -> Field:
        """Behind a BatchNorm: that of a layer is taken with the layer; another one sets mean and variance here."""
        names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        if id(given["running_mean"]) in self._done:
            return field
        middle, variance = (given[k].double() for k in ("running_mean", "running_var"))
        scale, shift = norms.affine(cast(nn.Module, _Affine(given)), middle)
        count = len(middle)
        ratio = (variance / field.variance[:count].clamp(min=1e-300)).sqrt()
        ratio = torch.where(field.variance[:count] > 1e-12 * variance, ratio, 1.0)
        factor = (scale * ratio).repeat(self.copies)
        off = field.mean.reshape(self.copies, -1) - field.mean[:count]
        mean = (off * scale + scale * middle + shift).flatten()
        gone = (field.variance == 0) & (field.mean == 0)  # channels that were cut
        mean = torch.where(gone & (torch.arange(len(mean)) >= count), 0.0, mean)
        kernel = factor.diag().to(torch.complex128)[None, None]
        return Field(mean, field.covariance * (factor[:, None] * factor), field, kernel)

    def _pooled(
        self, field: Field, x: Tensor, kernel: Any, stride: Any = None, padding: Any = 0, *rest: Any, **more: Any
    ) -> Field | None:
        (high, wide), (pad, _) = _pair(kernel), _pair(padding)
        steps = _pair(stride or kernel)
        if pad:
            return None
        channels = len(field.mean)
        shifts = [(y, u) for y in range(high) for u in range(wide)]
        means = torch.ones(1, 1, len(shifts), dtype=torch.float64) / len(shifts)
        shape = kernel_by_frequency(means, shifts, field.size)
        return field.mapped(shape * torch.eye(channels), field.mean).strided(steps)


class _Affine:
    """The numbers of a BatchNorm as attributes."""

    def __init__(self, given: Mapping[str, Any]):
        self.running_mean, self.running_var = given["running_mean"], given["running_var"]
        self.weight, self.bias, self.eps = given.get("weight"), given.get("bias"), given.get("eps", 1e-5)


def given_norm(gram: Tensor, weight: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """Second moments of what a layer reads, given the mean and variance of what it makes of it.

    Args:
        gram: [inputs + 1] squared, the constant last; the layer reads the first of the inputs.
        weight: [inputs of the layer, outputs]. mean, variance: of each output.
    """
    reads = len(weight)
    middle, moments = gram[:-1, -1], gram[:-1, :-1]
    covariance = moments - middle[:, None] * middle
    along = covariance[:, :reads] @ weight
    outputs = weight.T @ along[:reads]
    level = outputs.diagonal()
    factor = torch.where(level > 1e-12 * variance, variance / level.clamp(min=1e-300), 1.0).sqrt()
    ridged = outputs + (_RIDGE * level.mean() + 1e-150) * torch.eye(len(outputs), dtype=gram.dtype, device=gram.device)
    gain = torch.linalg.solve(ridged, along.T).T
    covariance = covariance + gain @ (outputs * (factor[:, None] * factor) - outputs) @ gain.T
    middle = middle + gain @ (mean - weight.T @ middle[:reads])
    return with_constant(covariance + middle[:, None] * middle, middle[None])


def tap_places(use: LayerUse) -> list[tuple[int, int]]:
    """Where each tap of a convolution in two axes reads, relative to the output position times the stride."""
    down, across = (tap_offsets(use, axis).tolist() for axis in (0, 1))
    return [(y, x) for y in down for x in across]


def _side_by_side(kernels: list[Tensor]) -> Tensor:
    """Kernels [..., C', C] of copies that do not mix, as one."""
    rows, columns = kernels[0].shape[-2:]
    whole = kernels[0].new_zeros(*kernels[0].shape[:-2], len(kernels) * rows, len(kernels) * columns)
    for i, kernel in enumerate(kernels):
        whole[..., i * rows : (i + 1) * rows, i * columns : (i + 1) * columns] = kernel
    return whole


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


def _pads_zeros(args: Any, kwargs: Mapping[str, Any]) -> bool:
    """Whether a padding appends zeros along channels and does nothing else."""
    given = {**dict(zip(("input", "pad", "mode", "value"), args, strict=False)), **kwargs}
    amounts = tuple(given["pad"])
    zeros = given.get("mode", "constant") == "constant" and not given.get("value")
    return zeros and len(amounts) == 6 and not any(amounts[:4]) and min(amounts[4:]) >= 0


def _sliced(field: Field, index: Any) -> Field | None:
    """Every so many positions, `x[:, :, ::s, ::t]`."""
    if not isinstance(index, tuple) or len(index) != 4 or not all(isinstance(s, slice) for s in index):
        return None
    if any(s.start or s.stop is not None for s in index):
        return None
    return field.strided((index[2].step or 1, index[3].step or 1))
