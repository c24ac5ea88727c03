"""Prove a cut: removing channels must compute what zeroing them computes.

The removed entries of every parameter are zeroed in a copy of the big network; it and the cut one must then agree in
float64. So that no dead unit, no zero head and no tiny layer scale hides an error, both networks are first shaken by
the same random numbers, about a tenth of each parameter's size: the proof is of the cut, whatever the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from reconv.errors import GraphError, check_kind
from reconv.graph.channels import Mask
from reconv.graph.copies import copy_model
from reconv.graph.labels import axes_of
from reconv.graph.rules import operator_of
from reconv.graph.tracing import bind_arguments, call_arguments
from reconv.surgery.cut import Removal, check_plan, cut_tensor

SHAKE = 0.1


def verify(model: nn.Module, small: nn.Module, plan: Removal, seed: int = 0) -> float:
    """How far removing is from zeroing, in float64.

    Both networks are shaken by the same random numbers and see the same random input of the traced shape (integers
    of the example stay). Norms over channels, and statistics that keep their axis, run over those that stay.

    Args:
        model: the big network. small: what `prune` made of it, before anything else changed it.
        plan: of the cut.
        seed: of all random numbers.

    Returns:
        Largest difference of the outputs, relative to the largest output. Rounding alone gives about 1e-15.

    Raises:
        WrongKindError: an argument of another kind. GraphError: a proof would be void (the outputs do not depend on the
            input, the model holds no numbers), or `small` is not what the plan leaves.

    Example:
        >>> import reconv, torch
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3))
        >>> graph = reconv.trace(model, torch.zeros(1, 3, 8, 8))
        >>> plan = reconv.choose(graph, reconv.score(graph), reconv.Budget(macs=0.5))
        >>> reconv.verify(model, reconv.prune(model, plan), plan) < 1e-12
        True
    """
    check_kind("verify: model", model, nn.Module)
    check_kind("verify: small", small, nn.Module)
    check_plan("verify: plan", plan)
    if any(t.is_meta for t in model.parameters()):
        raise GraphError(f"{type(model).__name__}: on the meta device there is nothing to compute; load weights first")
    big, cut = (copy_model(m).double().eval() for m in (model, small))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        _shake(big, cut, plan, generator)
        masks = _zero_removed(big, plan)
        inputs, others = (_drawn(plan.graph.inputs, big, generator) for _ in range(2))
        with _ZeroWeightNorm(), _OverKept(plan, masks):
            expected = _outputs(big, inputs)
        found, elsewhere = _outputs(cut, inputs), _outputs(cut, others)
    if not any(torch.is_floating_point(t) for t in pytree.tree_leaves(plan.graph.inputs) if isinstance(t, Tensor)):
        elsewhere = []
    if elsewhere and all(torch.equal(a, b) for a, b in zip(found, elsewhere, strict=True)):
        raise GraphError(
            f"{type(model).__name__}: its outputs do not depend on its input, so that no proof is possible; "
            "check the weights (a head of zeros?) and the example"
        )
    scale = max(float(t.abs().max()) for t in expected)
    return max(float((a - b).abs().max()) for a, b in zip(expected, found, strict=True)) / max(scale, 1e-300)


def _shake(big: nn.Module, cut: nn.Module, plan: Removal, generator: torch.Generator) -> None:
    """Add the same noise to both: to parameters a tenth of their size, to statistics by factors near one."""
    names = dict(big.named_parameters())
    small = dict([*cut.named_parameters(), *cut.named_buffers()])
    keep = plan.keep
    for name, tensor in [*names.items(), *big.named_buffers()]:
        if not torch.is_floating_point(tensor) or tensor.numel() == 0:
            continue
        noise = SHAKE * (2 * torch.rand(tensor.shape, generator=generator, dtype=torch.float64) - 1).to(tensor.device)
        if name in names:
            size = float(tensor.square().mean().sqrt())
            noise *= size if size > 0 else (tensor[0].numel() if tensor.dim() > 1 else 1) ** -0.5
        else:
            noise *= tensor.nan_to_num(0.0, 0.0, 0.0)  # bounds and masks may be infinite
        tensor.add_(noise)
        part = cut_tensor(noise, plan.graph.parameters.get(name, ()), keep)
        if name not in small or small[name].shape != part.shape:
            raise GraphError(
                f"{name}: {tuple(small[name].shape) if name in small else 'missing'} in the cut model, the plan leaves "
                f"{tuple(part.shape)}; give what `prune` made by this plan"
            )
        small[name].add_(part)


def _zero_removed(big: nn.Module, plan: Removal) -> dict[int, Mask]:
    """Zero what was removed; returns the mask of every parameter that lost something, by its id."""
    keep = plan.keep
    masks: dict[int, Mask] = {}
    for name, parameter in big.named_parameters():
        mask = np.ones(tuple(parameter.shape), dtype=np.bool_)
        for plane in plan.graph.parameters.get(name, ()):
            mask &= keep[plane]
        if not mask.all():
            parameter.mul_(torch.from_numpy(mask).to(parameter.device))
            masks[id(parameter)] = mask
    return masks


def _drawn(inputs: Any, model: nn.Module, generator: torch.Generator) -> Any:
    """Normal random numbers in place of every floating tensor."""
    device = next(model.parameters()).device

    def fresh(tensor: Tensor) -> Tensor:
        if not torch.is_floating_point(tensor):
            return tensor.to(device)
        return torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(device)

    return pytree.tree_map_only(Tensor, fresh, inputs)


def _outputs(model: nn.Module, inputs: Any) -> list[Tensor]:
    args, kwargs = call_arguments(inputs)
    outputs = pytree.tree_leaves(model(*args, **kwargs))
    return [t for t in outputs if isinstance(t, Tensor)]


class _OverKept(TorchDispatchMode):
    """Norms over channels, means and the like run over those that stay, as the operators' rows say.

    Args:
        plan: of the cut; its graph knows the statistics of a forward pass, one after the other.
        masks: of the parameters that lost something, by their ids.
    """

    def __init__(self, plan: Removal, masks: Mapping[int, Mask]):
        super().__init__()
        self.statistics = iter(plan.graph.statistics)
        self.keep = plan.keep
        self.masks = masks

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        operator = operator_of(func)
        if operator.statistic:
            args = (self._kept(func, args[0]), *args[1:])
        outputs = func(*args, **(kwargs or {}))
        if operator.over_kept is not None:
            kept = operator.over_kept(bind_arguments(func, args, kwargs or {}), self.masks)
            outputs = outputs if kept is None else (kept, *outputs[1:])
        return outputs

    def _kept(self, func: Any, signal: Tensor) -> Tensor:
        """A signal without what goes of the axes that its statistic runs over."""
        for plane in next(self.statistics, ()):
            (axis,) = axes_of(plane)
            if signal.dim() != plane.ndim or signal.shape[axis] != plane.size:
                raise GraphError(
                    f"{func._opname}: the forward pass runs other operators than the traced one, so that no proof "
                    "is possible; give a model whose forward does not depend on the values of its input"
                )
            signal = signal.index_select(axis, torch.from_numpy(np.flatnonzero(self.keep[plane])).to(signal.device))
        return signal


class _ZeroWeightNorm(TorchFunctionMode):
    """A weight of zeros divided by its norm is zero."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        return result.nan_to_num(0.0) if func is torch._weight_norm else result
