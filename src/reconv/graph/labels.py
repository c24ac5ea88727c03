"""Channel labels: which element of a tensor belongs to which channel, and which channels are one.

A **plane** is an integer array that broadcasts to a tensor's shape: its entry is the label of the channel that the
element belongs to. Its size along an axis is 1 where the label does not vary, so the plane of an activation
`[N, C, H, W]` is `[1, C, 1, 1]`, and after `flatten(1)` it is `[1, C*H*W]` with every label H*W times. An operator
that moves data moves planes by the very same move. A tensor may have several planes, each along axes of its own.

Every axis of every parameter starts with labels of its own; the operators that a forward pass runs say which labels
are one (`unite`), which may not go (`freeze`), which must go in equal numbers (`balance`), and which were folded into
several axes (`fold`). The statements are only collected here; `constraints.py` solves all of them at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Plane: TypeAlias = npt.NDArray[np.int64]
Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Fold:
    """Channels of one axis that an operator laid out over several: heads, groups, halves.

    Args:
        plane: the labels, with one axis for each part. operation: the index of the operator.
    """

    plane: Plane
    operation: int


@dataclass
class LabelSpace:
    """All labels of one trace and what was said about them."""

    count: int = 0
    united: list[tuple[Plane, Plane]] = field(default_factory=list)
    frozen: list[tuple[Plane, str]] = field(default_factory=list)
    doubted: list[tuple[Plane, str]] = field(default_factory=list)
    streams: list[Plane] = field(default_factory=list)
    balanced: list[Plane] = field(default_factory=list)
    folds: list[Fold] = field(default_factory=list)
    spreads: list[tuple[Plane, Plane]] = field(default_factory=list)
    statistics: list[tuple[Plane, ...]] = field(default_factory=list)

    def fresh(self, size: int) -> Plane:
        """`size` labels that nothing is known of yet."""
        first, self.count = self.count, self.count + size
        return np.arange(first, self.count, dtype=np.int64)

    def unite(self, a: Plane, b: Plane) -> None:
        """The channels of a and b at the same (broadcast) position are removed together."""
        if a is not b:
            x, y = (a, b) if a.shape == b.shape else np.broadcast_arrays(a, b)
            self.united.append((x.ravel(), y.ravel()))

    def spread(self, whole: Plane, part: Plane) -> None:
        """A parameter that lies on some axes of `whole` alone, such as a scale that all heads share, is spread over it.

        Along these axes the channels of both go together; where none of `whole` goes along them, `part` stays.
        """
        self.spreads.append((whole, part))

    def freeze(self, plane: Plane, reason: str) -> None:
        """These channels stay; the reason is shown to the user."""
        self.frozen.append((plane.ravel(), reason))

    def doubt(self, plane: Plane, reason: str) -> None:
        """These channels may go only if a cut network has passed a dry run; else they stay for this reason."""
        self.doubted.append((plane.ravel(), reason))

    def mark_stream(self, plane: Plane) -> None:
        """These channels are sums of several layers' outputs: a residual stream."""
        self.streams.append(plane.ravel())

    def balance(self, rows: Plane) -> None:
        """From every row of `rows [R, n]` the same number of channels must be removed."""
        self.balanced.append(rows)

    def take_statistic(self, planes: tuple[Plane, ...]) -> None:
        """A mean or the like of a tensor runs over these channels, or none; it is of those that stay."""
        self.statistics.append(planes)

    def fold(self, plane: Plane, operation: int) -> None:
        """The channels of this plane, which has several axes, came from one axis; what stays must fill a block."""
        self.folds.append(Fold(plane, operation))


def components(a: Plane, b: Plane, count: int) -> Plane:
    """The connected component of each of `count` nodes, when a[i] and b[i] are joined. Shape [count]."""
    edges = coo_array((np.ones(len(a), dtype=np.int8), (a, b)), shape=(count, count))
    result: Plane = connected_components(edges, directed=False)[1].astype(np.int64)
    return result


def axes_of(plane: npt.NDArray[Any]) -> tuple[int, ...]:
    """The axes along which a plane's label varies."""
    return tuple([axis for axis, size in enumerate(plane.shape) if size > 1])


def along(labels: npt.NDArray[Any], axis: int, rank: int) -> Plane:
    """One label per index of `axis`, as a plane of a tensor with `rank` axes."""
    return labels.reshape([-1 if a == axis else 1 for a in range(rank)])


def lift_plane(plane: Plane, rank: int) -> Plane:
    """A plane of a tensor that is broadcast to `rank` axes."""
    return plane.reshape((1,) * (rank - plane.ndim) + plane.shape)


def shrink_plane(full: Plane) -> Plane:
    """The smallest plane that broadcasts to `full`."""
    for axis, size in enumerate(full.shape):
        if size > 1:
            first = full.take([0], axis)
            if full.strides[axis] == 0 or bool((full == first).all()):
                full = first
    return full


def reshape_plane(plane: Plane, before: Shape, after: Shape) -> Plane:
    """The plane of `tensor.reshape(after)` where `tensor` has the shape `before`.

    Axes that the reshape leaves alone at either end are never written out, so that only what is really
    merged or split costs memory.
    """
    head = 0
    while head < min(len(before), len(after)) and before[head] == after[head]:
        head += 1
    tail = 0
    while tail < min(len(before), len(after)) - head and before[-1 - tail] == after[-1 - tail]:
        tail += 1
    stop_before, stop_after = len(before) - tail, len(after) - tail
    middle = before[head:stop_before]
    if all(size == 1 for size in plane.shape[head:stop_before]):
        shape = plane.shape[:head] + (1,) * (stop_after - head) + plane.shape[stop_before:]
        return plane.reshape(shape)
    written = np.broadcast_to(plane, plane.shape[:head] + middle + plane.shape[stop_before:])
    shape = plane.shape[:head] + after[head:stop_after] + plane.shape[stop_before:]
    return shrink_plane(written.reshape(shape))
