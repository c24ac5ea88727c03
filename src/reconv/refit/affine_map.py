"""A layer and the BatchNorm behind it, as one affine map: read as one, and written back as two.

In evaluation mode `norm(conv(x)) = s * conv(x) + t` channel by channel, so the two are one linear map of the rows. The
solved map is written back **through** the BatchNorm, which stays where it was: the convolution keeps its channels'
weight norms, the running statistics become the new convolution's own on the calibration set, and scale and shift are
what makes the function the solved one. So the modules and the artifact's layout do not change, and fine-tuning starts
from statistics that are right.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from reconv.refit.rows import from_matrix, to_matrix


def affine(norm: nn.Module | None, like: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and shift of every channel in evaluation mode, float64; ones and zeros without a norm."""
    if norm is None:
        return torch.ones_like(like, dtype=torch.float64), torch.zeros_like(like, dtype=torch.float64)
    module: Any = norm
    scale = 1 / (module.running_var.double() + module.eps).sqrt()
    if module.weight is not None:
        scale = scale * module.weight.detach().double()
    shift = -module.running_mean.double() * scale
    if module.bias is not None:
        shift = shift + module.bias.detach().double()
    return scale, shift


def has_constant(bias: Tensor | None, norm: nn.Module | None) -> bool:
    """Whether a layer can add a constant at all."""
    return bias is not None or norm is not None


def read_matrix(weight: Tensor, bias: Tensor | None, norm: nn.Module | None, kind: str, groups: int) -> Tensor:
    """The matrix of layer and norm, [groups, inputs (+ constant), outputs], float64."""
    matrix = to_matrix(weight.detach().double(), kind, groups)
    outputs = matrix.new_zeros(groups * matrix.shape[2])
    scale, shift = affine(norm, outputs)
    if bias is not None:
        shift = shift + scale * bias.detach().double()
    matrix = matrix * scale.reshape(groups, 1, -1)
    if has_constant(bias, norm):
        matrix = torch.cat([matrix, shift.reshape(groups, 1, -1)], 1)
    return matrix


def write_matrix(matrix: Tensor, moments: tuple[Tensor, Tensor], module: Any, norm: Any, kind: str) -> None:
    """Give layer and norm the function of `matrix`, in place.

    Args:
        matrix: as `read_matrix` returns it.
        moments: mean and variance of the new signal without the constant, on the calibration set, [outputs] each.
        module: the layer. norm: the BatchNorm behind it, or None.
    """
    mean, variance = moments
    constant = has_constant(module.bias, norm)
    linear, shift = (matrix[:, :-1], matrix[:, -1].flatten()) if constant else (matrix, None)
    with torch.no_grad():
        if norm is None:
            module.weight.copy_(from_matrix(linear, module.weight, kind))
            if shift is not None:
                module.bias.copy_(shift)
            return
        assert shift is not None
        if module.bias is not None:
            module.bias.zero_()
        if norm.weight is None or norm.bias is None:
            module.weight.copy_(from_matrix(linear, module.weight, kind))
            norm.running_var.fill_(1 - norm.eps)
            norm.running_mean.copy_(-shift)
            return
        factor = _to_old_length(linear, to_matrix(module.weight.detach().double(), kind, len(linear)))
        module.weight.copy_(from_matrix(linear * factor, module.weight, kind))
        factor = factor.flatten()
        norm.running_mean.copy_(mean * factor)
        norm.running_var.copy_(variance * factor.square())
        norm.weight.copy_((norm.running_var.double() + norm.eps).sqrt() / factor)
        norm.bias.copy_(shift + mean)


def _to_old_length(new: Tensor, old: Tensor) -> Tensor:
    """What each output channel is multiplied with to have its old length; 1 where either is nearly zero."""
    lengths = old.norm(dim=1, keepdim=True), new.norm(dim=1, keepdim=True)
    factor = lengths[0] / lengths[1]
    return torch.where((lengths[0] > 1e-12) & (lengths[1] > 1e-12) & factor.isfinite(), factor, 1.0)
