"""Try a cut on real tensors, where a model's forward looks at values, so that it cannot run without them.

A pruned copy and a copy whose removed entries are zero run on the example, on three images where the model takes
several, and in training mode, in the model's own precision. The pruned copy has to run wherever the other does, and to
give the same shapes and, in evaluation mode, the same numbers. Both copies are perturbed alike, lest a head of zeros
hides a difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from reconv.graph.channels import ChannelGraph, Mask
from reconv.graph.copies import copy_model, named_modules, parameters_and_buffers
from reconv.graph.sizes import follow_sizes
from reconv.graph.slices import cut_tensor
from reconv.graph.tensors import tensors_in
from reconv.graph.tracing import call_arguments, in_one_line

SHAKE = 0.1
JITTER = 1e-5
IMAGES = 3
# A forward pass of more multiply-adds is not repeated on several images.
LARGEST = 2e10
_TOLERANCES = {torch.float64: 1e-8, torch.float32: 1e-3}
_COARSE = 3e-2  # for other precisions
# Where these lose channels, a zeroed network computes something else than a pruned one.
_NORMS = ("aten.native_layer_norm", "aten.native_group_norm", "aten._fused_rms_norm")


@dataclass(frozen=True)
class Way:
    """How a model is run.

    Args:
        images: how many it is given; 0: the example as it is. training: in training mode.
    """

    images: int
    training: bool


@dataclass
class Trial:
    """Cuts of one model, tried on real tensors.

    Args:
        model: the whole one. example: its input.

    Attributes:
        passes: how many forward passes were run. undecided: outputs could not be compared.
        failing: the way in which the last cut failed.
    """

    model: nn.Module
    example: Any
    passes: int = 0
    undecided: bool = False
    failing: Way | None = None

    def failure(self, graph: ChannelGraph, keep: Mask, ways: Sequence[Way] | None = None) -> str | None:
        """Why a copy that is left with the channels in `keep` is wrong; None where it is right."""
        if keep.all():
            return None
        whole, cut = self._copies(graph, keep)
        for way in self._ways(graph) if ways is None else ways:
            why = self._failure(graph, keep, whole, cut, way)
            if why is not None:
                self.failing = way
                return why
        return None

    def _ways(self, graph: ChannelGraph) -> list[Way]:
        large = sum(layer.macs() for layer in graph.layers) > LARGEST
        images = (0,) if large or self._inputs(IMAGES) is self.example else (0, IMAGES)
        return [Way(n, training) for training in (False, True) for n in images]

    def _inputs(self, images: int) -> Any:
        """The example, or as many images where it holds one."""
        tensors = tensors_in(self.example)
        if not images or not tensors or any(not t.dim() or len(t) != 1 for t in tensors):
            return self.example
        return pytree.tree_map_only(Tensor, lambda t: t.expand(images, *t.shape[1:]), self.example)

    def _copies(self, graph: ChannelGraph, keep: Mask) -> tuple[nn.Module, nn.Module]:
        """The network with zeros, and the pruned one."""
        parameters, buffers = parameters_and_buffers(self.model)
        generator = torch.Generator().manual_seed(0)
        zeroed: dict[int, Tensor] = {}
        pruned: dict[int, Tensor] = {}
        for name, tensor in (parameters | buffers).items():
            planes = graph.parameters.get(name, ())
            changed = _perturbed(tensor, generator) if name in parameters else tensor.detach().clone()
            pruned[id(tensor)] = cut_tensor(changed, planes, keep)
            mask = np.ones(tuple(tensor.shape), dtype=np.bool_)
            for plane in planes:
                mask &= keep[plane]
            if name in parameters and not mask.all():
                changed = _like(changed, changed.detach() * torch.from_numpy(mask).to(changed.device))
            zeroed[id(tensor)] = changed
        whole, cut = (copy_model(self.model, tensors, own_runs=True) for tensors in (zeroed, pruned))
        for path, module in named_modules(cut):
            follow_sizes(module, path, graph, keep)
        return whole, cut

    def _failure(self, graph: ChannelGraph, keep: Mask, whole: nn.Module, cut: nn.Module, way: Way) -> str | None:
        try:
            expected = self._run(whole, way)
        except Exception:  # of the user's code, in a mode or on a number of images that it does not take
            return None
        try:
            found = self._run(cut, way)
        except Exception as error:
            return in_one_line(error)
        if [t.shape for t in expected] != [t.shape for t in found]:
            why = f"it gives {_shapes(found)}, not {_shapes(expected)}"
        elif not way.training and _comparable(graph, keep) and (far := _distance(expected, found)):
            why = f"its outputs are {far:.2g} apart from those of the network in which what goes is zero"
        else:
            return None
        if not way.training and self._jumps(whole, way, expected):
            self.undecided = True
            return None
        return why

    def _run(self, model: nn.Module, way: Way) -> list[Tensor]:
        self.passes += 1
        torch.manual_seed(0)
        args, kwargs = call_arguments(pytree.tree_map_only(Tensor, torch.clone, self._inputs(way.images)))
        with torch.no_grad():
            return tensors_in(model.train(way.training)(*args, **kwargs))

    def _jumps(self, whole: nn.Module, way: Way, expected: Sequence[Tensor]) -> bool:
        """Whether the smallest change of the weights changes the outputs, so that they cannot be compared."""
        generator = torch.Generator().manual_seed(1)
        near = copy_model(whole, {id(p): _perturbed(p, generator, JITTER) for p in whole.parameters()})
        found = self._run(near, way)
        return [t.shape for t in expected] != [t.shape for t in found] or bool(_distance(expected, found))


def _like(tensor: Tensor, values: Tensor) -> Tensor:
    return nn.Parameter(values, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else values


def _perturbed(tensor: Tensor, generator: torch.Generator, share: float = SHAKE) -> Tensor:
    """A copy in which every entry that is not zero, and every one of a tensor of zeros, changes a little."""
    values = tensor.detach()
    if not values.is_floating_point() or not values.numel():
        return _like(tensor, values.clone())
    noise = share * (2 * torch.rand(values.shape, generator=generator) - 1).to(values.device, values.dtype)
    size = values.abs() if bool((values != 0).any()) else torch.ones_like(values)
    return _like(tensor, values + noise * size)


def _comparable(graph: ChannelGraph, keep: Mask) -> bool:
    """Whether zeroing computes what removing does: no mean or norm runs over channels that go."""
    if any(not keep[plane].all() for planes in graph.statistics for plane in planes):
        return False
    norms = (o for o in graph.forward if o.operator in _NORMS)
    return all(keep[graph.labels[plane]].all() for o in norms for out in o.outputs for plane in out.planes)


def _distance(expected: Sequence[Tensor], found: Sequence[Tensor]) -> float:
    """How far outputs are apart, relative to the largest of each; 0 where that is rounding."""
    farthest = 0.0
    for a, b in zip(expected, found, strict=True):
        if not a.is_floating_point() or not a.numel():
            continue
        scale = float(a.double().abs().nan_to_num(0.0, 0.0, 0.0).max())
        distance = float((a.double() - b.double()).abs().nan_to_num(0.0, 0.0, 0.0).max()) / max(scale, 1e-30)
        if distance > _TOLERANCES.get(a.dtype, _COARSE):
            farthest = max(farthest, distance)
    return farthest


def _shapes(tensors: Sequence[Tensor]) -> str:
    return ", ".join(str(tuple(t.shape)) for t in tensors[:3]) + (", ..." if len(tensors) > 3 else "")
