"""Which layers a pass goes through as the trace says, and where their images lie: found by passes of a few images.

The trace tells what a layer reads; how many of its rows belong to an image, only a pass tells: of a sequence the first
axis may count steps, and a detector's layers may run once for each level, or for each box.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from reconv.graph.channels import ChannelGraph
from reconv.inputs import batch_size, first_images
from reconv.refit.chains import Chain
from reconv.refit.layer_use import Follower, LayerUse, laid_out, layer_names

_FEW = (2, 3)  # images of each pass; an axis that counts images grows with them
Shape = tuple[int, ...]


class _Shapes(Follower):
    """Notes the shapes of every layer's input and of the signal at its chain's end, in the order of their coming."""

    def __init__(self, names: Mapping[int, str], chains: Mapping[str, Chain]):
        super().__init__(names, chains)
        self.inputs: dict[str, list[Shape]] = defaultdict(list)
        self.ends: dict[str, list[Shape]] = defaultdict(list)

    def on_layer(self, chain: Chain, use: LayerUse, run: Callable[[], Tensor]) -> Tensor:
        self.inputs[chain.layer].append(tuple(use.input.shape))
        return run()

    def on_end(self, chain: Chain, signal: Tensor) -> Tensor:
        self.ends[chain.layer].append(tuple(signal.shape))
        return signal


def passable(
    graph: ChannelGraph, chains: Mapping[str, Chain], models: Sequence[nn.Module], images: Any
) -> tuple[dict[str, Chain], dict[str, str]]:
    """The chains that can be followed in every pass, with the axis of their images; why the others cannot.

    Args:
        graph: that the chains are of. models: the original, and those cut from it; in evaluation mode, without
            gradients. images: at least two, or other inputs.
    """
    passes: list[list[tuple[int, _Shapes]]] = []
    for model in models:
        device, names = next(model.parameters()).device, layer_names(graph, model)
        passes.append([])
        for number in sorted({min(few, batch_size(images)) for few in _FEW}):
            shapes = _Shapes(names, chains)
            shapes.run_network(model, laid_out(first_images(images, number), device))
            passes[-1].append((number, shapes))
    found, left = {}, {}
    for name, chain in chains.items():
        counts = [len(seen.get(name, ())) for runs in passes for _, s in runs for seen in (s.inputs, s.ends)]
        if counts != [1] * len(counts):
            left[name] = f"a pass goes through it {max(counts)} times, not once" if counts[0] else "no pass reads it"
            continue
        axes = [a for a in (0, 1) if all(_counts_images(a, name, runs) for runs in passes)]
        if not axes or (axes[0] and (chain.steps or len(passes[0][0][1].inputs[name][0]) < 3)):
            left[name] = "its input has no axis of images"
        else:
            found[name] = replace(chain, axis=axes[0])
    for name, chain in found.items():
        front = found.get(chain.follows or "")
        if chain.follows and (front is None or chain.axis or front.axis):
            found[name] = replace(chain, follows=None, between=())
    return found, left


def _counts_images(axis: int, name: str, passes: Sequence[tuple[int, _Shapes]]) -> bool:
    """Whether this axis, of a layer's input and of its chain's end, grows with the images and nothing else does."""
    for seen in ("inputs", "ends"):
        shapes = [(number, getattr(s, seen)[name][0]) for number, s in passes]
        if any(len(shape) <= axis or shape[axis] % number for number, shape in shapes):
            return False
        if len({(*shape[:axis], shape[axis] // number, *shape[axis + 1 :]) for number, shape in shapes}) > 1:
            return False
    return True
