"""What an error inside the network does to its outputs: one trial for each group of channels.

An error curve says how much of a layer's signal is lost. What the outputs lose by that differs from block to block, so
each group is tried once: about a third of its channels goes, alone, the layers that read them make up for it as the
curve says, and the outputs' divergence from the original's is measured on images that no curve has seen. Divergence
over predicted error is the group's **sensitivity**, and curves times it are on one scale for the whole network.

A trial prunes nothing and repairs nothing: what changes is a linear layer's matrix, so its difference is run as a
second call of the layer's function, whose result is added.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.weak import WeakTensorKeyDictionary

from reconv.graph.channels import ChannelGraph
from reconv.inputs import batch_size, part_of
from reconv.modes import evaluating
from reconv.refit import affine_map
from reconv.refit.chains import Chain, find_chains
from reconv.refit.layer_use import Follower, LayerUse, batches, laid_out, layer_modules, layer_names
from reconv.refit.passes import passable
from reconv.refit.phases import images_at_a_time
from reconv.refit.rows import from_matrix
from reconv.threads import map_parts, thread_pool

Key = TypeVar("Key")

_LARGEST_BATCH = 250


@dataclass(frozen=True, eq=False)
class Trial:
    """One group with some of its channels gone.

    Args:
        removed: how many. predicted: the error by the group's curve.
        changes: by layer that reads them, what is added to its matrix, [groups, inputs, outputs], float64.
    """

    removed: int
    predicted: float
    changes: Mapping[str, Tensor]


def measure_sensitivities(graph: ChannelGraph, trials: Mapping[Key, Trial], images: Any) -> dict[Key, float]:
    """Divergence of the outputs over predicted error, for every trial.

    Args:
        graph: of the network. trials: by any key. images: that the trials' curves were not made from.
    """
    model = graph.model
    with evaluating(model), torch.no_grad():
        device = next(model.parameters()).device
        chains, _ = find_chains(graph, model)
        chains, _ = passable(graph, chains, (model,), images)
        names, modules = layer_names(graph, model), layer_modules(graph, model)
        number = batch_size(images)
        parts = list(batches(number, images_at_a_time(graph, chains, _LARGEST_BATCH)))

        def outputs(changes: Mapping[str, Tensor]) -> list[tuple[Tensor, ...]]:
            def run(part: slice) -> tuple[Tensor, ...]:
                follower = _Changed(names, {n: chains[n] for n in changes if n in chains}, changes, modules)
                return follower.outputs_of(model, laid_out(part_of(images, part), device))

            return list(map_parts(run, parts))

        with thread_pool(device):
            original = outputs({})
            found = {}
            for key, trial in trials.items():
                lost = sum(
                    mean_divergence(a, b) * (part.stop - part.start)
                    for a, b, part in zip(outputs(trial.changes), original, parts, strict=True)
                )
                lost /= number
                if trial.predicted > 0 and lost > 0:
                    found[key] = lost / trial.predicted
        return found


def mean_divergence(outputs: Sequence[Tensor], originals: Sequence[Tensor]) -> float:
    """The mean over a network's outputs; those of another shape, as of a detector's boxes, say nothing."""
    pairs = [(a, b) for a, b in zip(outputs, originals, strict=False) if a.shape == b.shape and b.numel()]
    return statistics.fmean(divergence(a, b) for a, b in pairs) if pairs else 0.0


def divergence(output: Tensor, original: Tensor) -> float:
    """How far outputs are from the original's, mean over the images.

    Of scores of classes, [n, classes], the Kullback-Leibler divergence of the classes' probabilities; of anything else
    the squared difference as a share of the original's squares.
    """
    a, b = output.double(), original.double()
    if a.dim() == 2 and a.shape[1] > 1:
        p = b.log_softmax(1)
        return float((p.exp() * (p - a.log_softmax(1))).sum(1).mean())
    return float((a - b).square().sum() / b.square().sum().clamp(min=1e-300))


class _Changed(Follower):
    """Runs a network some of whose layers have another matrix."""

    def __init__(
        self,
        names: Mapping[int, str],
        chains: Mapping[str, Chain],
        changes: Mapping[str, Tensor],
        modules: Mapping[str, Any],
    ):
        super().__init__(names, chains)
        self.changes, self.modules = changes, modules
        self._joined: Any = WeakTensorKeyDictionary()  # concatenations: the axis, and the sizes of what was joined

    def outputs_of(self, model: Any, images: Any) -> tuple[Tensor, ...]:
        """The tensors that the network gives; one that was made of several by a concatenation, as those.

        They may be of different sizes and kinds, such as the boxes and the classes of a detector, and each counts.
        """
        leaves = pytree.tree_leaves(self.run_network(model, images))
        outputs = [t for t in leaves if isinstance(t, Tensor) and t.is_floating_point()]
        return tuple(part for t in outputs for part in (t.split(*self._joined[t]) if t in self._joined else (t,)))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = super().__torch_function__(func, types, args, kwargs)
        if func in (torch.cat, torch.concat, torch.concatenate):
            given = dict(zip(("tensors", "dim"), args)) | (kwargs or {})
            axis = given.get("dim", 0)
            self._joined[result] = [t.shape[axis] for t in given["tensors"]], axis
        return result

    def on_layer(self, chain: Chain, use: LayerUse, run: Callable[[], Tensor]) -> Tensor:
        norm = None if chain.norm is None else self.modules[chain.norm]
        change = self.changes[chain.layer]
        groups, _, outputs = change.shape
        scale, _ = affine_map.affine(norm, change.new_zeros(groups * outputs))
        change = torch.where(scale.reshape(groups, 1, -1) == 0, 0.0, change / scale.reshape(groups, 1, -1))
        bias = None
        if affine_map.has_constant(use.arguments.get("bias"), norm):
            change, bias = change[:, :-1], change[:, -1].flatten().to(use.weight.dtype)
        weight = from_matrix(change, use.weight, use.kind).to(use.weight.dtype)
        return run() + use(weight=weight, bias=bias)
