"""Where a model comes from: enough to build its like again without tracing it.

A model carries its provenance as a plain attribute, so it survives `copy.deepcopy`, moves between devices and
changes of mode. A step that changes the model attaches the new one:
`attach(small, provenance_of(big).edited(...))`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from torch import nn

_ATTRIBUTE = "_reconv_provenance"
Edit = int | tuple[int, ...]
_Module = TypeVar("_Module", bound=nn.Module)


@dataclass(frozen=True)
class ModelSpec:
    """What `reconv.zoo.build_model` needs to build a model: its name, and arguments that JSON can hold."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {"name": self.name, "arguments": dict(self.arguments)}


@dataclass(frozen=True)
class Normalization:
    """The mean and standard deviation of each image channel, for values in [0, 1], that a model expects."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def to_json(self) -> dict[str, list[float]]:
        """As a JSON object."""
        return {"mean": list(self.mean), "std": list(self.std)}


IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Provenance:
    """A model's origin and what was done to its modules since.

    Attributes:
        spec: how to build the original; None for a class of the user's own.
        edits: module path -> attribute -> new value, such as `{"layer1.0.conv1": {"out_channels": 9}}`.
        normalization: what the input is to be normalized with; None where nobody said, so the data set's.
        notes: what was assumed on the way, one sentence each, for the user to read.
    """

    spec: ModelSpec | None = None
    edits: Mapping[str, Mapping[str, Edit]] = field(default_factory=dict)
    normalization: Normalization | None = None
    notes: tuple[str, ...] = ()

    def edited(self, edits: Mapping[str, Mapping[str, Edit]]) -> Provenance:
        """The provenance after further edits; a later value of an attribute replaces an earlier one."""
        merged = {path: dict(values) for path, values in self.edits.items()}
        for path, values in edits.items():
            merged.setdefault(path, {}).update(values)
        return replace(self, edits=merged)


def provenance_of(model: nn.Module) -> Provenance:
    """The provenance that a model carries; an empty one where it carries none."""
    found = getattr(model, _ATTRIBUTE, None)
    return found if isinstance(found, Provenance) else Provenance()


def attach(model: _Module, provenance: Provenance) -> _Module:
    """Let a model carry this provenance, in place of any other; returns the same model."""
    setattr(model, _ATTRIBUTE, provenance)
    return model
