"""A residual branch: what lies between a stream and the addition to it, and may be removed as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from reconv.graph.labels import Plane


@dataclass(frozen=True, eq=False)
class Branch:
    """A residual branch.

    Args:
        name: of the module that holds its layers.
        layers: its layers. groups: groups of channels that live in it alone.
        addition: index of the operator that adds it to the stream, among those of the forward pass.
        stream: which operand of the addition is the stream, 0 or 1.
        operations: indices of the operators that no longer run without it, the addition among them.
        replacements: path of a module -> what stands in for it (see `bypass`).
        presence: its channel class. classes: all classes that go with it: this one, and those of its groups.
        reason: why it cannot be removed; "" where it can.
    """

    name: str
    layers: tuple[str, ...]
    groups: tuple[str, ...] = ()
    addition: int = -1
    stream: int = 0
    operations: frozenset[int] = frozenset()
    replacements: Mapping[str, int] = field(default_factory=dict)
    presence: int = -1
    classes: Plane = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    reason: str = ""

    def __repr__(self) -> str:
        return f"Branch({self})"

    def __str__(self) -> str:
        count = f"{len(self.layers)} layer{'s' * (len(self.layers) != 1)}"
        return f"{self.name}: {count}; {self.reason or 'may be removed'}"
