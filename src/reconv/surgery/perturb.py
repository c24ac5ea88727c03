"""The two networks of a proof: perturbed alike, and in the big one what was removed is zero."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from reconv.errors import GraphError
from reconv.graph.channels import Mask
from reconv.graph.copies import named_modules
from reconv.surgery.cut import Removal, cut_tensor

Strength: TypeAlias = Literal["full", "factors", "slight", "strong"]
SHAKE = 0.1
_SIZES = {"slight": 1e-3, "strong": 3.0}
_USUAL = (1e-3, 1e3)  # sizes of a parameter, over that of a fresh one: others are brought to it, lest they hide faults


def perturb(
    big: nn.Module, cut: nn.Module, plan: Removal, generator: torch.Generator, strength: Strength = "full"
) -> None:
    """Change both networks by the same random numbers, lest a dead unit, a zero head or fresh statistics hide a fault.

    Parameters change by a tenth of their size, which is made an ordinary one first. So do the statistics of norms, and
    buffers that lose channels: a mean of zero no longer is, and what was positive stays so. Other buffers change by
    factors near one.

    Args:
        big, cut: copies, changed in place. plan: of the cut. generator: of the random numbers.
        strength: "factors": change everything by factors near one alone; zeros stay, for a forward that cannot do
            without them. "slight": by a thousandth, so that a trained network still finds what it is shown. "strong":
            by more than they are, so that a unit that is dead need not stay so.

    Raises:
        GraphError: `cut` is not what the plan leaves.
    """
    parameters = dict(big.named_parameters())
    small = dict([*cut.named_parameters(), *cut.named_buffers()])
    statistics, size = _statistics(big), _SIZES.get(strength, SHAKE)
    for name, tensor in [*parameters.items(), *big.named_buffers()]:
        if not (tensor.is_floating_point() or tensor.is_complex()) or tensor.numel() == 0:
            continue
        planes, factor = plan.graph.parameters.get(name, ()), 1.0
        noise = size * (2 * torch.rand(tensor.shape, generator=generator, dtype=torch.float64) - 1).to(tensor.device)
        if strength in ("factors", "slight"):
            noise = noise * _finite(tensor)
        elif name in parameters:
            factor, scale = _factor_and_size(tensor)
            noise = noise * scale
        elif name in statistics or any(not plan.keep[plane].all() for plane in planes):
            noise = _noise_of_buffer(tensor, noise)
        else:
            noise = noise * _finite(tensor)  # bounds and masks may be infinite
        noise = noise.to(tensor.dtype)
        tensor.mul_(factor).add_(noise)
        if not plan.graph.has(name, plan.keep):
            continue
        part = cut_tensor(noise, planes, plan.keep)
        if name not in small or small[name].shape != part.shape:
            raise GraphError(
                f"{name}: {tuple(small[name].shape) if name in small else 'missing'} in the cut model, the plan leaves "
                f"{tuple(part.shape)}; give what `prune` made by this plan"
            )
        small[name].mul_(factor).add_(part)


def _finite(tensor: Tensor) -> Tensor:
    wide = tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)
    return wide.where(torch.isfinite(wide), 0.0)


def _root_mean_square(tensor: Tensor) -> float:
    """Without overflow."""
    size = _finite(tensor).abs()
    largest = float(size.max())
    return largest * float((size / largest).square().mean().sqrt()) if largest > 0 else 0.0


def _factor_and_size(tensor: Tensor) -> tuple[float, float]:
    """A factor that brings a parameter to an ordinary size, and this size."""
    size, fresh = _root_mean_square(tensor), (tensor[0].numel() if tensor.dim() > 1 else 1) ** -0.5
    if size == 0 or _USUAL[0] < size / fresh < _USUAL[1]:
        return 1.0, size or fresh
    return fresh / size, fresh


def _statistics(model: nn.Module) -> set[str]:
    """Names of the buffers in which norms keep means and variances."""
    return {
        f"{path}.{name}" if path else name
        for path, module in named_modules(model)
        for name in ("running_mean", "running_var")
        if module._buffers.get(name) is not None
    }


def _noise_of_buffer(tensor: Tensor, noise: Tensor) -> Tensor:
    """What is nowhere negative, such as a variance, stays so."""
    values = _finite(tensor)
    size = _root_mean_square(tensor) or 1.0
    if tensor.is_complex() or bool((values < 0).any()):
        changed = noise * size
    else:
        changed = torch.where(values > 0, noise.clamp(min=-0.9) * values, noise.abs() * size)
    return changed * torch.isfinite(tensor)


def zero_removed(big: nn.Module, plan: Removal) -> dict[int, Mask]:
    """Zero what was removed; returns the mask of every parameter that lost something, by its id."""
    keep = plan.keep
    masks: dict[int, Mask] = {}
    for name, parameter in big.named_parameters():
        mask = np.ones(tuple(parameter.shape), dtype=np.bool_)
        for plane in plan.graph.parameters.get(name, ()):
            mask &= keep[plane]
        if not mask.all():
            stays = torch.from_numpy(mask).to(parameter.device)
            parameter.copy_(parameter.where(stays, torch.zeros((), dtype=parameter.dtype, device=parameter.device)))
            masks[id(parameter)] = mask
    return masks
