"""Where a model comes from: what is needed to rebuild it without a trace.

A model carries its provenance as a plain attribute, so it survives `copy.deepcopy`, moves between devices and
changes of mode. A step that changes the model attaches the new one:
`attach(small, provenance_of(big).edited(...))`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar

from torch import nn

from reconv.errors import ArtifactError, ConfigError

_ATTRIBUTE = "_reconv_provenance"
Edit = int | tuple[int, ...]
_Module = TypeVar("_Module", bound=nn.Module)


@dataclass(frozen=True)
class ModelSpec:
    """What `reconv.zoo.build_model` needs to build a model.

    Args:
        name: such as `resnet56` or `torchvision:resnet34`.
        arguments: by name; what JSON can hold (tuples become lists).

    Raises:
        ConfigError: an argument that JSON cannot hold, so that the model could not be saved.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            plain = json.loads(json.dumps(dict(self.arguments), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"{self.name}: an argument cannot be saved ({error}); give numbers, text or lists, or build "
                "the model yourself."
            ) from None
        object.__setattr__(self, "arguments", plain)


@dataclass(frozen=True)
class Normalization:
    """The mean and standard deviation of each image channel, for values in [0, 1], that a model expects."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(map(float, self.mean)))
        object.__setattr__(self, "std", tuple(map(float, self.std)))
        finite = all(map(math.isfinite, (*self.mean, *self.std)))
        if len(self.mean) != len(self.std) or not self.mean or not finite or min(self.std) <= 0:
            raise ConfigError(
                f"normalization: mean {self.mean}, std {self.std}; a mean and a positive std per channel."
            )


@dataclass(frozen=True)
class Resizing:
    """How a model takes images on disk: their shorter side is scaled to `resize` pixels, and a square of `side` pixels
    cut out of their center."""

    side: int
    resize: int


IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Provenance:
    """A model's origin and what was done to its modules since.

    Attributes:
        spec: how to build the original; None for a class of the user's own.
        edits: module path -> attribute -> new value, such as `{"layer1.0.conv1": {"out_channels": 9}}`; an entry of
            lists and mappings by its path, such as `feature_info.2.num_chs`.
        removed: path of a module of a removed branch -> what stands in for it, such as `{"layer1.0": 0}`: 0 for an
            identity, -1 for a guard around the module, else the number of outputs of a module that gives nothing.
        normalization: what the input is to be normalized with; None: as the data set says.
        notes: assumptions made, one sentence each, for the user.
        resizing: how images on disk become inputs; None: as the data set says.
    """

    spec: ModelSpec | None = None
    edits: Mapping[str, Mapping[str, Edit]] = field(default_factory=dict)
    normalization: Normalization | None = None
    notes: tuple[str, ...] = ()
    removed: Mapping[str, int] = field(default_factory=dict)
    resizing: Resizing | None = None

    def without(self, removed: Mapping[str, int]) -> Provenance:
        """The provenance after modules of removed branches were replaced; what lay inside them is no longer named."""
        paths = {**self.removed, **removed}

        def inside(path: str) -> bool:
            return any(path.startswith(f"{other}.") for other in paths)

        return replace(
            self,
            removed={path: outputs for path, outputs in paths.items() if not inside(path)},
            edits={path: edits for path, edits in self.edits.items() if path not in paths and not inside(path)},
        )

    def edited(self, edits: Mapping[str, Mapping[str, Edit]]) -> Provenance:
        """The provenance after further edits; a later value of an attribute replaces an earlier one."""
        merged = {path: dict(values) for path, values in self.edits.items()}
        for path, values in edits.items():
            merged.setdefault(path, {}).update(values)
        return replace(self, edits=merged)

    def to_json(self) -> dict[str, Any]:
        """As an object that JSON can hold."""
        return {
            "model": self.spec and {"name": self.spec.name, "arguments": dict(self.spec.arguments)},
            "edits": {path: dict(values) for path, values in self.edits.items()},
            "normalization": self.normalization
            and {"mean": list(self.normalization.mean), "std": list(self.normalization.std)},
            "notes": list(self.notes),
            **({"removed": dict(self.removed)} if self.removed else {}),
            **({} if self.resizing is None else {"resizing": asdict(self.resizing)}),
        }

    @classmethod
    def from_json(cls, value: Any, where: str) -> Provenance:
        """What `to_json` made, read back.

        Raises:
            ArtifactError: anything else; `where` names the file.
        """
        try:
            model, normalization, resizing = value["model"], value["normalization"], value.get("resizing")
            return cls(
                spec=ModelSpec(str(model["name"]), dict(model["arguments"])) if model else None,
                edits={
                    str(path): {str(name): _edit(edit) for name, edit in edits.items()}
                    for path, edits in value["edits"].items()
                },
                normalization=Normalization(normalization["mean"], normalization["std"]) if normalization else None,
                notes=tuple(map(str, value["notes"])),
                removed={str(path): _outputs(outputs) for path, outputs in value.get("removed", {}).items()},
                resizing=Resizing(int(resizing["side"]), int(resizing["resize"])) if resizing else None,
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, ConfigError) as error:
            raise ArtifactError(
                f"{where}: does not describe a model ({type(error).__name__}: {error}); save the model again."
            ) from None


def _edit(value: Any) -> Edit:
    if type(value) is int:
        return value
    if isinstance(value, list) and all(type(item) is int for item in value):
        return tuple(value)
    raise TypeError(f"an edit is a whole number or a list of them, not {value!r}")


def _outputs(value: Any) -> int:
    if type(value) is int and -1 <= value <= 64:
        return value
    raise TypeError(f"what stands in for a removed module is a number of outputs, not {value!r}")


FILE_KEY = "reconv"


def file_metadata(provenance: Provenance) -> dict[str, str]:
    """The metadata by which a file of weights says which model it belongs to."""
    return {FILE_KEY: json.dumps(provenance.to_json())}


def provenance_of(model: nn.Module) -> Provenance:
    """The provenance that a model carries; an empty one where it carries none."""
    provenance = getattr(model, _ATTRIBUTE, None)
    return provenance if isinstance(provenance, Provenance) else Provenance()


def attach(model: _Module, provenance: Provenance) -> _Module:
    """Let a model carry this provenance, in place of any other; returns the same model."""
    setattr(model, _ATTRIBUTE, provenance)
    return model
