"""What the time of a network's modules depends on: which of them run, on how many bytes, with how many MACs.

A runtime computes channels in blocks, the width of its vector registers or tiles, and may fill up what is left of a
block: sixteen channels to one then take as long as sixteen to eight. So MACs are counted as they are, and with outputs,
or outputs and inputs, rounded up to blocks of several sizes; timings tell which of these counts.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence

import numpy as np

from reconv.budget import Product
from reconv.cost.terms import CostModel, Values, macs_products, owners_of_macs
from reconv.graph.branches import with_branches
from reconv.graph.bypass import is_within, vanishing
from reconv.graph.channels import ChannelGraph, Mask
from reconv.graph.labels import Plane

_BLOCKS = (1, 8, 16, 32)
_ROUNDED = tuple((outputs, inputs) for outputs in range(1, len(_BLOCKS)) for inputs in (0, outputs))
BYTES, MACS = 0, 1  # kinds of features; those after are MACs with rounded widths
KINDS = 2 + len(_ROUNDED)


class Features:
    """Sums of products of rounded counts of channels, for every module: bytes written, MACs, MACs of whole blocks.

    Feature `kind * len(modules) + i` is that of module i.

    Args:
        graph: of the network. modules: names; what none of them holds belongs to the first.

    Attributes:
        products: coefficients [T]; rounded counts that are multiplied, [T, F]; the feature that each adds to, [T].
        alike: of every module, what those share that run the same operators on the same shapes (see `_alike`).
    """

    def __init__(self, graph: ChannelGraph, modules: Sequence[str]):
        graph = with_branches(graph)
        self.classes = graph.classes
        self.modules = tuple(modules)
        numbers = {name: i for i, name in enumerate(self.modules)}

        def owner(name: str) -> int:
            while name and name not in numbers:
                name = name.rpartition(".")[0]
            return numbers.get(name, 0)

        layers = np.array([owner(layer.name) for layer in graph.layers], dtype=np.int64)
        multiplying = np.array([owner(name) for name in owners_of_macs(graph)], dtype=np.int64)
        owners = np.array([owner(operation.module) for operation in graph.forward], dtype=np.int64)
        self._costs = CostModel(graph)
        macs = self._costs.terms(macs_products(graph))
        written = self._costs.terms(
            [
                Product(output.bytes_apart(), [*planes, *graph.factors(needs, planes)], own)
                for operation, needs, own in zip(
                    graph.forward, map(graph.needs_of, itertools.count()), owners.tolist(), strict=False
                )
                for output in operation.outputs
                for planes in [[graph.labels[p] for p in output.planes]]
            ]
        )
        self._full = self._costs.counts(np.ones(self.classes, dtype=np.bool_))
        sums = [(written.coefficients, self._rounded(written.factors), written.owner)]
        sums += [
            (macs.coefficients, self._rounded(macs.factors, blocks), multiplying[macs.owner])
            for blocks in ((0, 0), *_ROUNDED)
        ]
        width = max(factors.shape[1] for _, factors, _ in sums)
        one = len(self._full) - 1  # the count that is one, whatever stays
        self.products = (
            np.concatenate([coefficients for coefficients, _, _ in sums]),
            np.concatenate([np.pad(f, ((0, 0), (0, width - f.shape[1])), constant_values=one) for _, f, _ in sums]),
            np.concatenate([own + kind * len(self.modules) for kind, (_, _, own) in enumerate(sums)]),
        )
        self.alike = _alike(graph, owners, layers, len(self.modules))
        self._stopped = list(self._shares_stopped(graph, owners))

    def _rounded(self, factors: Plane, blocks: tuple[int, ...] = ()) -> Plane:
        """The rounded counts of factors of products: outputs and inputs, which come first, in blocks of these."""
        result = factors % len(self._full)  # the last row is also called -1
        for column, block in enumerate(blocks[: factors.shape[1]]):
            result[:, column] += block * len(self._full)
        return result

    def _shares_stopped(self, graph: ChannelGraph, owners: Plane) -> list[tuple[int, Values]]:
        """The presence of each branch, and which share of each module's operators it holds."""
        own = np.bincount(owners, minlength=len(self.modules))
        result = []
        for branch in graph.branches or ():
            if not branch.reason:
                inside = np.bincount(owners[sorted(branch.operations)], minlength=len(self.modules))
                paths = vanishing(branch.replacements)
                empty = np.array([any(is_within(name, path) for path in paths) for name in self.modules])
                result.append((branch.presence, np.where(own == 0, empty, inside / np.maximum(own, 1))))
        return result

    def counts(self, keep: Mask) -> Values:
        """Every count of a cut, [K]."""
        return self._costs.counts(self._whole_mask(keep))

    def counts_of(self, units: Sequence[Plane]) -> Values:
        """What each of these sets of classes adds to every count, [K, sets]."""
        return self._costs.counts_of(units)

    def count_of(self, rounded: Plane) -> Plane:
        """Which counts these rounded ones are of."""
        return rounded % len(self._full)

    def round(self, rounded: Plane, counts: Values) -> Values:
        """Counts as these rounded ones have them: filled up to whole blocks, but not above the unpruned network's.

        Args:
            rounded: [R]. counts: of each, [R, n].
        """
        blocks = np.array(_BLOCKS, dtype=np.float64)[rounded // len(self._full), None]
        filled: Values = np.minimum(np.ceil(counts / blocks) * blocks, self._full[self.count_of(rounded), None])
        return filled

    def values(self, keep: Mask) -> Values:
        """Every feature of a cut, [KINDS * modules]."""
        coefficients, factors, features = self.products
        everything = np.arange(len(_BLOCKS) * len(self._full))
        counts = self.round(everything, np.tile(self.counts(keep), len(_BLOCKS))[:, None])[:, 0]
        result = np.zeros(KINDS * len(self.modules))
        np.add.at(result, features, coefficients * counts[factors].prod(1))
        return result

    def stopped_by(self, classes: Plane) -> Values:
        """Which share of each module's operators no longer runs when these classes go."""
        shares = sum((share for presence, share in self._stopped if presence in classes), np.zeros(len(self.modules)))
        return np.minimum(shares, 1.0)

    def running(self, keep: Mask) -> Values:
        """Which share of each module's operators runs: less than 1 for those that removed branches hold."""
        return 1.0 - self.stopped_by(np.flatnonzero(~self._whole_mask(keep)))

    def _whole_mask(self, keep: Mask) -> Mask:
        """A mask over all classes; one that knows of no branches keeps them all."""
        return np.append(keep, np.ones(self.classes - len(keep), dtype=np.bool_))


def _alike(graph: ChannelGraph, owners: Plane, layers: Plane, modules: int) -> tuple[Hashable, ...]:
    """What modules share that run the same operators on the same shapes, between streams or inside branches alike."""
    keys: list[list[Hashable]] = [[] for _ in range(modules)]
    for operation, own in zip(graph.forward, owners.tolist(), strict=True):
        shapes = (tuple(o.shape for o in operation.operands), tuple(o.shape for o in operation.outputs))
        keys[own].append((operation.operator, shapes))
    for layer, own in zip(graph.layers, layers.tolist(), strict=True):
        ends = (graph.group_of_class.get(int(plane.flat[0])) for plane in (layer.inputs, layer.outputs) if plane.size)
        keys[own].append(tuple(end is not None and end.stream for end in ends))
    return tuple(tuple(own) if own else i for i, own in enumerate(keys))
