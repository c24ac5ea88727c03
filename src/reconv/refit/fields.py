"""Signals as Gaussian fields: a mean for every channel, and a covariance for every two channels and every shift.

On a torus a convolution is a product for every frequency, `S_out = K S K^H` with S the spectrum of the covariance. A
ReLU is taken value by value in closed form. With z1 = s1 (a + g1), z2 = s2 (b + g2) and g1, g2 standard normal with
correlation r, Price's theorem, used twice (the second derivative of a ReLU is a point mass), gives

    cov(relu z1, relu z2) = s1 s2 ( r Phi(a) Phi(b) + int_0^r (r - t) phi2(a, b; t) dt ),

phi2 the bivariate density; with t = sin(theta) its integrand is smooth, and a Gauss-Legendre rule takes it. ReLU6 is
the difference of two such hinges. To the signal in front, `relu z` is related as `Phi(a) z` (Bussgang's theorem);
through this **linear response** the terms of a sum that come from the same signal are correlated.

Source: Price, "A useful theorem for nonlinear devices having Gaussian inputs", IRE Trans. 1958; at zero means this
is the arc-cosine kernel of Cho & Saul, 2009.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_NODES = 16
Hinges = Sequence[tuple[float, float]]  # sum of c * relu(z - t), as pairs (c, t)
RELU: Hinges = ((1.0, 0.0),)
HINGES: dict[str, Hinges] = {"relu": RELU, "relu_": RELU, "relu6": ((1.0, 0.0), (-1.0, 6.0))}


@dataclass(frozen=True, eq=False)
class Field:
    """A stationary Gaussian signal.

    Args:
        mean: [C]. covariance: of channel c at y and c' at y + shift, [H, W, C, C], shifts on a torus; all float64.
        parent: the signal that this one is made of. step: how: a kernel by frequency, or (height, width) of a stride.
    """

    mean: Tensor
    covariance: Tensor
    parent: Field | None = None
    step: Tensor | tuple[int, int] | None = None

    @property
    def size(self) -> tuple[int, int]:
        return int(self.covariance.shape[0]), int(self.covariance.shape[1])

    @property
    def variance(self) -> Tensor:
        return self.covariance[0, 0].diagonal()

    def mapped(self, kernel: Tensor, mean: Tensor) -> Field:
        """What a linear map makes of it; `kernel` is [H, W/2 + 1, C', C], or the same for all frequencies."""
        spectrum = kernel @ _spectrum(self.covariance) @ kernel.mH
        return Field(mean, _shifts(spectrum, self.size), self, kernel)

    def strided(self, stride: tuple[int, int]) -> Field:
        """Every so many positions of it."""
        return self if stride == (1, 1) else Field(self.mean, _every(self.covariance, stride), self, stride)

    def averaged(self) -> Field:
        """The mean over all positions, on a torus of one."""
        return Field(self.mean, self.covariance.mean((0, 1), keepdim=True))

    def activated(self, hinges: Hinges = RELU) -> Field:
        """What an activation of straight pieces makes of it."""
        deviation = self.variance.clamp(min=0).sqrt()
        deviation = deviation.clamp(min=1e-12 * float(deviation.max()) + 1e-150)
        scale = deviation[:, None] * deviation
        r = (self.covariance / scale).clamp(-1, 1)
        mean, covariance = torch.zeros_like(self.mean), torch.zeros_like(r)
        response = torch.zeros_like(self.mean)
        for weight, at in hinges:
            a = (self.mean - at) / deviation
            density = torch.exp(-a.square() / 2) / math.sqrt(2 * math.pi)
            mean += weight * deviation * (a * torch.special.ndtr(a) + density)
            response += weight * torch.special.ndtr(a)
        for (one, at), (two, other) in itertools.product(hinges, hinges):
            covariance += one * two * _hinges_covary((self.mean - at) / deviation, (self.mean - other) / deviation, r)
        return Field(mean, covariance * scale, self, response.diag()[None, None].to(torch.complex128))

    def plus(self, other: Field) -> Field:
        """The sum of two, which are correlated by what they are both made of."""
        cross = covariance_of(self, other)
        covariance = self.covariance + other.covariance
        if cross is not None:
            covariance = covariance + cross + cross.flip(0, 1).roll((1, 1), (0, 1)).mT
        return Field(self.mean + other.mean, covariance)

    def gram(self, shifts: Sequence[tuple[int, int]], inside: Tensor, channels: Tensor) -> Tensor:
        """Second moments of what lies under a kernel's taps, and of a constant, which is last.

        Args:
            shifts: place of every tap. inside: share of positions where two taps are both in the map, [taps, taps].
            channels: which ones.

        Returns:
            [channels * taps + 1] squared, in the order of a flattened weight.
        """
        taps, mean = len(shifts), self.mean[channels]
        product = mean[:, None] * mean
        result = torch.empty(len(mean), taps, len(mean), taps, dtype=mean.dtype, device=mean.device)
        chosen: dict[tuple[int, int], Tensor] = {}
        for (i, (y, x)), (j, (v, u)) in itertools.product(enumerate(shifts), enumerate(shifts)):
            shift = (v - y) % self.size[0], (u - x) % self.size[1]
            if shift not in chosen:
                chosen[shift] = self.covariance[shift][channels][:, channels] + product
            result[:, i, :, j] = chosen[shift] * inside[i, j]
        first = (mean[:, None] * inside.diagonal()).reshape(1, -1)
        return with_constant(result.reshape(len(mean) * taps, -1), first)


def with_constant(gram: Tensor, mean: Tensor) -> Tensor:
    """Second moments bordered by the means, [1, n], and one."""
    return torch.cat([torch.cat([gram, mean]), torch.cat([mean, mean.new_ones(1, 1)], 1).T], 1)


def covariance_of(one: Field, two: Field) -> Tensor | None:
    """Between two signals for every shift, as far as both respond to the nearest one that both are made of.

    None where there is no such signal, or where the two have come to different positions.
    """
    ancestors: dict[int, int] = {}
    steps: list[Tensor | tuple[int, int] | None] = []
    field: Field | None = one
    while field is not None:
        ancestors[id(field)] = len(steps)
        steps.append(field.step)
        field = field.parent
    right: list[Tensor | tuple[int, int] | None] = []
    common: Field | None = two
    while common is not None and id(common) not in ancestors:
        right.append(common.step)
        common = common.parent
    if common is None:
        return None
    left = steps[: ancestors[id(common)]]
    found = common.covariance
    while True:
        size = int(found.shape[0]), int(found.shape[1])
        spectrum = _spectrum(found)
        while left and isinstance(kernel := left[-1], Tensor):
            spectrum = kernel @ spectrum
            left.pop()
        while right and isinstance(kernel := right[-1], Tensor):
            spectrum = spectrum @ kernel.mH
            right.pop()
        found = _shifts(spectrum, size)
        if not left and not right:
            return found
        if not left or not right or left[-1] != right[-1]:
            return None
        found = _every(found, left.pop())  # type: ignore[arg-type]
        right.pop()


def kernel_by_frequency(weight: Tensor, shifts: Sequence[tuple[int, int]], size: tuple[int, int]) -> Tensor:
    """A weight [C', C, taps] on a torus, [H, W/2 + 1, C', C]."""
    placed = weight.new_zeros(*size, *weight.shape[:2])
    for tap, (y, x) in enumerate(shifts):
        placed[y % size[0], x % size[1]] += weight[:, :, tap]
    return _spectrum(placed)


def power_law(exponent: float, size: tuple[int, int], device: torch.device) -> Tensor:
    """The spectrum `frequency^-exponent` of unit variance, [H, W/2 + 1], real."""
    y, x = torch.fft.fftfreq(size[0], device=device), torch.fft.rfftfreq(size[1], device=device)
    frequency = torch.hypot(y[:, None].double(), x[None].double())
    frequency[0, 0] = 0.5 / max(size)
    spectrum: Tensor = frequency**-exponent
    variance: Tensor = torch.fft.irfft2(spectrum, s=size)[0, 0]
    return spectrum / variance


def _hinges_covary(a: Tensor, b: Tensor, r: Tensor) -> Tensor:
    """Covariance of relu(a + g) and relu(b + h) for correlations r of g and h, [..., A, B]."""
    a, b = a[:, None], b[None]
    top = r.asin()
    result: Tensor = r * torch.special.ndtr(a) * torch.special.ndtr(b)
    squares, product = a.square() + b.square(), 2 * a * b
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        sine = (node * top).sin()
        exponent = (product * sine - squares) / (2 * (1 - sine.square()).clamp(min=1e-300))
        result += (weight / (2 * math.pi)) * top * (r - sine) * exponent.exp()
    return result


def _spectrum(covariance: Tensor) -> Tensor:
    spectrum: Tensor = torch.fft.rfft2(covariance, dim=(0, 1))
    return spectrum


def _shifts(spectrum: Tensor, size: tuple[int, int]) -> Tensor:
    covariance: Tensor = torch.fft.irfft2(spectrum, s=size, dim=(0, 1))
    return covariance


def _every(covariance: Tensor, stride: tuple[int, int]) -> Tensor:
    """Covariance for shifts that are multiples of the stride, on a torus that is smaller by as much."""
    for axis, step in enumerate(stride):
        old = covariance.shape[axis]
        new = math.ceil(old / step)
        shifts = torch.arange(new, device=covariance.device)
        shifts = torch.where(shifts > new // 2, shifts - new, shifts) * step % old
        covariance = covariance.index_select(axis, shifts)
    return covariance
