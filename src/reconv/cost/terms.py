"""Costs as sums of products of counts, so that thousands of cuts can be costed in a second.

A count is the number of channels that stay along some axis; all counts of a cut are one sparse matrix times the mask
of what stays. A layer's MACs are positions x kernel x count of inputs x count of outputs, a parameter's entries and an
activation's bytes likewise.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from reconv.cost.lifetimes import activations
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
    """

    coefficients: Values
    factors: Plane
    owner: Plane
    owners: int

    def each(self, counts: Values) -> Values:
        """What every owner costs, [owners]; counts are [K], or [K, n] for n cuts at once."""
        products: Values = counts[self.factors].prod(1)
        products = products * self.coefficients.reshape(-1, *[1] * (products.ndim - 1))
        result = np.zeros((self.owners, *products.shape[1:]))
        np.add.at(result, self.owner, products)
        return np.rint(result)


@dataclass
class Counts:
    """The planes that are counted, each once."""

    classes: int
    planes: list[Plane] = field(default_factory=list)
    _places: dict[bytes, int] = field(default_factory=dict)

    def place(self, plane: Plane) -> int:
        flat = np.sort(plane.ravel())
        key = flat.tobytes()
        if key not in self._places:
            self._places[key] = len(self.planes)
            self.planes.append(flat)
        return self._places[key]

    @cached_property
    def matrix(self) -> csr_array:
        """Counts [K, classes]; what it gives for a mask is the counts."""
        rows = np.repeat(np.arange(len(self.planes)), [len(plane) for plane in self.planes])
        columns = np.concatenate([*self.planes, np.zeros(0, dtype=np.int64)])
        shape = (len(self.planes), self.classes)
        return csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)


Product = tuple[int, float, list[Plane]]  # owner, coefficient, planes


class CostModel:
    """The countable costs of a network as functions of what stays: macs, params, memory, bytes of weights."""

    def __init__(self, graph: ChannelGraph):
        self.graph = graph
        self._counts = Counts(graph.classes)
        self.macs = self.terms([p for i, layer in enumerate(graph.layers) for p in _layer_products(i, layer)])
        trained, buffers = parameters_and_buffers(graph.model)
        entries = [_tensor_product(graph, i, name) for i, name in enumerate(graph.parameters)]
        self.params = self.terms([p for p, name in zip(entries, graph.parameters, strict=True) if name in trained])
        tensors = trained | buffers
        self.weights = self.terms(
            [
                (i, n * tensors[name].element_size(), planes)
                for (i, n, planes), name in zip(entries, graph.parameters, strict=True)
            ]
        )

    @cached_property
    def memory(self) -> Terms:
        return self.terms([(i, a.entry, list(a.planes)) for i, a in enumerate(activations(self.graph))])

    @cached_property
    def lives(self) -> tuple[Plane, Plane]:
        found = activations(self.graph)
        return np.array([a.born for a in found]), np.array([a.last + 1 for a in found])

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

    def left(self, name: str, counts: Values) -> Values:
        """A cost, of one cut or of several at once; weights in bytes, without the header of their file."""
        if name == "memory":
            return np.asarray(self._alive(counts).max(0))
        terms: Terms = {"macs": self.macs, "params": self.params, "size": self.weights}[name]
        return np.asarray(terms.each(counts).sum(0))

    def memory_above(self, counts: Values, limit: float) -> float:
        """By how many bytes the activations exceed a limit, all moments together."""
        return float(np.maximum(self._alive(counts) - limit, 0).sum())

    def _alive(self, counts: Values) -> Values:
        """Bytes that are alive when each operator has ended, [operators + 1, ...]."""
        sizes = self.memory.each(counts)
        change = np.zeros((len(self.graph.forward) + 1, *sizes.shape[1:]))
        born, gone = self.lives
        np.add.at(change, born, sizes)
        np.subtract.at(change, gone, sizes)
        return np.asarray(change.cumsum(0))

    def terms(self, products: list[Product]) -> Terms:
        """Further costs of the network, as products: owner, coefficient, planes of classes that are counted."""
        self._counts.__dict__.pop("matrix", None)
        width = max([1, *(len(planes) for _, _, planes in products)])
        factors = np.full((len(products), width), -1, dtype=np.int64)
        for row, (_, _, planes) in zip(factors, products, strict=True):
            for i, plane in enumerate(planes):
                row[i] = self._counts.place(plane)
        owner = np.array([p[0] for p in products], dtype=np.int64)
        coefficients = np.array([p[1] for p in products], dtype=np.float64)
        return Terms(coefficients, factors, owner, int(owner.max(initial=-1)) + 1)


def _layer_products(owner: int, layer: Layer) -> list[Product]:
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
    plain = layer.positions - sum(n for n, _ in layer.rows)
    products = [(owner, plain * kernel, pair) for pair in pairs] if plain else []
    for positions, classes in layer.rows:
        products += [(owner, positions / classes.size * kernel, [*pair, classes]) for pair in pairs]
    return products


def _tensor_product(graph: ChannelGraph, owner: int, name: str) -> Product:
    """A parameter's or buffer's entries."""
    planes, covered = [], 1
    full = math.prod(graph.shape(name))
    for plane in graph.parameters[name]:
        axes = axes_of(plane)
        row = plane if len(axes) == 1 else plane.take([0], axes[0])  # every row keeps equally many
        planes.append(row)
        covered *= row.size
    return owner, full / max(covered, 1), planes
