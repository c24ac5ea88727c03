"""Constraints that a user adds to those of the operators: channels tied by hand, and layers that stay."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import TypeAlias

import numpy as np

from reconv.errors import ConfigError, unknown_name
from reconv.graph.labels import Plane, axes_of
from reconv.graph.record import Record

# A layer's output channels, by its name; or an axis of a parameter or buffer, by its name and the axis.
Member: TypeAlias = "str | tuple[str, int]"
KEPT_BY_USER = "kept by the user"


def add_user_constraints(record: Record, tie: Iterable[Sequence[Member]], freeze: Iterable[str]) -> None:
    """Add the constraints of `trace(tie=..., freeze=...)` to those of the operators.

    Args:
        tie: groups; index by index, the channels of their members go together.
        freeze: patterns of layer names; their output channels stay.

    Raises:
        UnknownNameError: a layer or parameter that the forward pass does not use. ConfigError: members of different
            sizes.
    """
    outputs = {call.layer: call.outputs for call in record.calls}
    for group in tie:
        first, *others = (_labels(record, outputs, member) for member in group)
        for member, labels in zip(group[1:], others, strict=True):
            if len(labels) != len(first):
                raise ConfigError(
                    f"tie: {member} has {len(labels)} channels and {group[0]} has {len(first)}; "
                    "tie what has equally many"
                )
            record.space.unite(first, labels)
    for pattern in freeze:
        matching = [labels for name, labels in outputs.items() if fnmatchcase(name, pattern)]
        if not matching:
            raise unknown_name("layer", pattern, outputs)
        for labels in matching:
            record.space.freeze(labels, f"{KEPT_BY_USER} (freeze={pattern})")


def _labels(record: Record, outputs: dict[str, Plane], member: Member) -> Plane:
    if isinstance(member, str):
        if member not in outputs:
            raise unknown_name("layer", member, outputs)
        return outputs[member]
    name, axis = member
    if name not in record.parameters:
        raise unknown_name("parameter", name, record.parameters)
    planes = [plane for plane in record.parameters[name] if axes_of(plane) == (axis,)]
    if not planes:
        raise ConfigError(f"tie: axis {axis} of {name} has no channels; name an axis of a size above one")
    return np.ravel(planes[0])
