"""Costs as sums of products of counts, so that thousands of cuts can be costed in a second.

A count is the number of channels that stay along some axis; all counts of a cut are one sparse matrix times the mask
of what stays. A layer's MACs are positions x kernel x count of inputs x count of outputs, a parameter's entries and an
activation's bytes likewise.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from reconv.budget import Cost, Product
from reconv.cost.memory import activations
from reconv.cost.weights_file import times_saved
from reconv.graph.channels import ChannelGraph, Layer, Mask
from reconv.graph.copies import parameters_and_buffers
from reconv.graph.labels import Plane, axes_of

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Terms:
    """Products of counts, each for one owner: a layer, a parameter, an activation.

    Args:
        coefficients: [T]. factors: rows of `Counts`, [T, F]; the last row counts one, whatever stays.
        owner: index of each term's owner, [T]. owners: how many there are.
        spans: of every owner, the first operator at whose end it is held, and the first at whose end it no longer is;
            None: owners count always.
    """

    coefficients: Values
    factors: Plane
    owner: Plane
    owners: int
    spans: tuple[Plane, Plane] | None = None

    def each(self, counts: Values) -> Values:
        """What every owner costs, [owners]; counts are [K], or [K, n] for n cuts at once."""
        products: Values = counts[self.factors].prod(1)
        products = products * self.coefficients.reshape(-1, *[1] * (products.ndim - 1))
        result = np.zeros((self.owners, *products.shape[1:]))
        np.add.at(result, self.owner, products)
        whole = np.rint(result)  # what counts things is whole, whatever rounding left of a fraction
        return np.where(np.abs(result - whole) <= 1e-9 * np.abs(result), whole, result)

    def total(self, counts: Values) -> float:
        """The cost: of all owners together, or of those held at the widest moment."""
        return float(self.each(counts).sum() if self.spans is None else self._held(counts).max())

    def excess(self, counts: Values, limit: float) -> float:
        """By how much what is held exceeds a limit, all moments together."""
        return float(np.maximum(self._held(counts) - limit, 0).sum())

    def _held(self, counts: Values) -> Values:
        """What is held when each operator has ended."""
        assert self.spans is not None
        sizes = self.each(counts)
        first, end = self.spans
        change = np.zeros(int(end.max(initial=0)) + 1)
        np.add.at(change, first, sizes)
        np.subtract.at(change, end, sizes)
        return np.asarray(change.cumsum())


@dataclass
class Counts:
    """The planes that are counted, each once."""

    classes: int
    planes: list[Plane] = field(default_factory=list)
    _rows: dict[bytes, int] = field(default_factory=dict)

    def row(self, plane: Plane) -> int:
        flat = np.sort(plane.ravel())
        key = flat.tobytes()
        if key not in self._rows:
            self._rows[key] = len(self.planes)
            self.planes.append(flat)
        return self._rows[key]

    @cached_property
    def matrix(self) -> csr_array:
        """Counts [K, classes]; what it gives for a mask is the counts."""
        rows = np.repeat(np.arange(len(self.planes)), [len(plane) for plane in self.planes])
        columns = np.concatenate([*self.planes, np.zeros(0, dtype=np.int64)])
        shape = (len(self.planes), self.classes)
        return csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)


class CostModel:
    """The costs of one network as functions of what stays, all by the same counts."""

    def __init__(self, graph: ChannelGraph):
        self.graph = graph
        self._counts = Counts(graph.classes)

    def counts(self, keep: Mask) -> Values:
        """Every count of a cut, [K + 1]; the last is one."""
        return np.append(self._counts.matrix @ keep.astype(np.float64), 1.0)

    def counts_of(self, units: Iterable[Plane]) -> Values:
        """What each of these sets of classes adds to every count, [K + 1, sets]."""
        sets = list(units)
        columns = np.repeat(np.arange(len(sets)), [len(s) for s in sets])
        rows = np.concatenate([*sets, np.zeros(0, dtype=np.int64)])
        chosen = csr_array((np.ones(len(rows)), (rows, columns)), shape=(self._counts.classes, len(sets)))
        return np.vstack([(self._counts.matrix @ chosen).toarray(), np.zeros((1, len(sets)))])

    def terms(self, products: Sequence[Product]) -> Terms:
        """A cost of the network, as products."""
        self._counts.__dict__.pop("matrix", None)
        width = max([1, *(len(product.planes) for product in products)])
        factors = np.full((len(products), width), -1, dtype=np.int64)
        for row, product in zip(factors, products, strict=True):
            for i, plane in enumerate(product.planes):
                row[i] = self._counts.row(plane)
        owner = np.array([product.owner for product in products], dtype=np.int64)
        coefficients = np.array([product.coefficient for product in products], dtype=np.float64)
        owners = int(owner.max(initial=-1)) + 1
        spans = np.zeros((2, owners), dtype=np.int64)
        for product in products:
            if product.span is not None:
                spans[:, product.owner] = product.span[0], product.span[1] + 1
        held = any(product.span is not None for product in products)
        return Terms(coefficients, factors, owner, owners, (spans[0], spans[1]) if held else None)


def whole_cost(graph: ChannelGraph, cost: Cost) -> float | None:
    """A cost of the network before anything goes; None where limits or measurements decide it."""
    keep = np.ones(graph.classes, dtype=np.bool_)
    if cost.amount is not None:
        return float(cost.amount(graph, keep))
    if cost.products is None:
        return None
    model = CostModel(graph)
    terms = model.terms(cost.products(graph))
    return terms.total(model.counts(keep))


def macs_products(graph: ChannelGraph) -> list[Product]:
    """Multiply-adds of every layer, then of every operator that belongs to none."""
    layers = [product for i, layer in enumerate(graph.layers) for product in _layer_products(graph, i, layer)]
    return layers + [
        Product(work.entry, [*work.planes, *graph.factors(graph.needs_of(work.operation), work.planes)], i)
        for i, work in enumerate(graph.products, len(graph.layers))
    ]


def owners_of_macs(graph: ChannelGraph) -> list[str]:
    """The modules that the owners of `macs_products` are in."""
    return [*(layer.name for layer in graph.layers), *(work.module for work in graph.products)]


def params_products(graph: ChannelGraph) -> list[Product]:
    """Entries of every parameter."""
    trained = set(graph.trained)
    return [_tensor_product(graph, i, name) for i, name in enumerate(graph.parameters) if name in trained]


def weights_products(graph: ChannelGraph) -> list[Product]:
    """Bytes of every parameter and buffer, once for each of its names."""
    trained, buffers = parameters_and_buffers(graph.model)
    tensors, times = trained | buffers, times_saved(graph.model)
    return [
        _tensor_product(graph, i, name, tensors[name].element_size() * times[id(tensors[name])])
        for i, name in enumerate(graph.parameters)
    ]


def memory_products(graph: ChannelGraph) -> list[Product]:
    """Bytes of every activation while it is alive."""
    return [
        Product(
            a.entry, [*a.planes, *graph.factors(graph.needs_of(a.born, memory=True), a.planes)], i, (a.born, a.last)
        )
        for i, a in enumerate(activations(graph))
    ]


def _layer_products(graph: ChannelGraph, owner: int, layer: Layer) -> list[Product]:
    """A layer's MACs."""
    kernel = math.prod(layer.kernel)
    outputs = layer.outputs.reshape(layer.groups, -1)
    if layer.groups == 1:
        pairs = [[layer.outputs, layer.inputs]]
    elif (outputs[:, :1] == outputs).all() and np.array_equal(outputs[:, :1], layer.inputs):
        pairs = [[layer.outputs]]  # one channel a group, which goes as a whole
    elif layer.inputs.shape[1] > 1:
        pairs = [[layer.outputs, layer.inputs[0]]]  # every group keeps equally many
    else:
        pairs = [[out, one] for out, one in zip(outputs, layer.inputs, strict=True)]
    pairs = [[*pair, *graph.factors(layer.needs, pair)] for pair in pairs]
    plain = layer.positions - sum(n for n, _ in layer.rows)
    products = [Product(plain * kernel, pair, owner) for pair in pairs] if plain else []
    for positions, classes in layer.rows:
        products += [Product(positions / classes.size * kernel, [*pair, classes], owner) for pair in pairs]
    return products


def _tensor_product(graph: ChannelGraph, owner: int, name: str, each: int = 1) -> Product:
    """A parameter's or buffer's entries, at so much each."""
    planes, covered = [], 1
    full = math.prod(graph.shape(name))
    for plane in graph.parameters[name]:
        axes = axes_of(plane)
        row = plane if len(axes) == 1 else plane.take([0], axes[0])  # every row keeps equally many
        planes.append(row)
        covered *= row.size
    planes += graph.factors(graph.needs.get(name, ()), planes)
    return Product(full / max(covered, 1) * each, planes, owner)
