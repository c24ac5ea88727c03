"""How many images wait at which layers at once, so that what they hold keeps to the memory allowed.

Early layers have large maps and little to learn from each image's thousands of positions; late ones have small maps and
need every image. So the layers come in phases: all layers of a phase are solved in one pass of as many images as the
memory holds at its widest layer, and a new phase, from the network's input, begins where clearly more images fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reconv.cost.memory import activations
from reconv.errors import GraphError
from reconv.graph.channels import ChannelGraph
from reconv.refit.chains import Chain

_MORE = 1.5  # times as many images are worth another pass
_LEAST = 32  # images, whatever the memory says
_BATCH_BYTES = 96 << 20  # live signals of one batch, about


@dataclass(frozen=True)
class Phase:
    """Layers that are solved in one pass.

    Args:
        layers: in the order of the forward pass. images: how many, the first ones.
    """

    layers: tuple[str, ...]
    images: int


def signal_bytes(graph: ChannelGraph, chains: Mapping[str, Chain]) -> dict[str, int]:
    """About what one image holds at each layer: what its code still needs, and the layer's input and output."""
    own = {name: 4 * chain.numel for name, chain in chains.items()}
    images = max(graph.images, 1)
    try:
        pieces = activations(graph)
    except GraphError:  # two passes of the model differ
        return own
    live = np.zeros(len(graph.forward) + 2)
    for piece in pieces:
        if not piece.planes and not piece.born:
            continue  # the network's input is held anyway, and may be a part of something larger
        live[piece.born] += piece.size() / images
        live[piece.last + 1] -= piece.size() / images
    live = live.cumsum()
    return {name: max(own[name], int(live[chain.operation])) for name, chain in chains.items()}


def phases(
    graph: ChannelGraph, chains: Mapping[str, Chain], layers: Sequence[str], images: int, memory: int
) -> list[Phase]:
    """Which layers are solved in which pass.

    Args:
        graph: of the network before it was cut. chains: of its layers. layers: those to solve, in their order.
        images: how many there are. memory: bytes that signals may take.
    """
    held = signal_bytes(graph, chains)
    fit = []
    for name in layers:
        lead = chains.get(chains[name].follows or "")
        both = 2 * held[name] + (0 if lead is None else 4 * lead.numel)  # of the original, too
        fit.append(min(images, max(int(memory / max(both, 1)), min(_LEAST, images))))
    result: list[Phase] = []
    start = 0
    while start < len(layers):
        later = [min(fit[i:]) for i in range(start + 1, len(layers))]
        now = min(fit[start:])
        better = [i for i, n in enumerate(later, start + 1) if n >= min(_MORE * now, images) and n > now]
        stop = better[0] if better else len(layers)
        number = min(fit[start:stop])
        result.append(Phase(tuple(layers[start:stop]), number))
        start = stop
    return result


def images_at_a_time(graph: ChannelGraph, chains: Mapping[str, Chain], largest: int) -> int:
    """How many images run at a time: so few that temporary tensors stay small, so many that overhead does, too."""
    widest = max(signal_bytes(graph, chains).values(), default=1)
    return max(2, min(largest, _BATCH_BYTES // max(widest, 1)))
