"""What decides the result of a run; `config.json` in its folder holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reconv.compression import EARLIER_NAMES, Compression
from reconv.errors import ConfigError
from reconv.mappings import from_mapping, to_mapping
from reconv.preprocessing import Preprocessing
from reconv.steps import TrainConfig

_BASE = TrainConfig()


@dataclass(frozen=True)
class RunConfig:
    """What a run starts from, by name, and what it does.

    Args:
        model: a name that `load_model` knows, or the path of a saved model.
        weights: a file of trained weights; "shipped": those that come with reconv; None: the network is trained first
            (a saved model has its own).
        arguments: the model's own, such as `{"shortcut": "stride"}`.
        data_set: a name, or the path of a folder of images.
        data_root: the folder that holds data sets.
        task: a Python file of the user's with loaders, loss and metric, in place of a data set (see `reconv.tasks`).
        example: an input of the network: a shape, a file, or a function of the user's (see `reconv.examples`).
        preprocessing: how images on disk become inputs, where the network does not say.
        base: how a network without weights is trained first.
        compression: what is removed, and what is done after.
        device: where to compute.
    """

    model: str = "resnet20"
    weights: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    data_set: str = "digits"
    data_root: str | None = None
    task: str | None = None
    example: str | None = None
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    base: TrainConfig = _BASE
    compression: Compression = field(default_factory=Compression)
    device: str = "auto"

    def __post_init__(self) -> None:
        for name in ("model", "data_set"):
            value = getattr(self, name)
            if not isinstance(value, str):
                raise ConfigError(
                    f"{name}: {type(value).__name__}; a configuration holds names: give the object itself to "
                    f"`run({name.removesuffix('_set')}=...)`"
                )

    @property
    def seed(self) -> int:
        """Of everything random."""
        return self.compression.seed

    def to_mapping(self) -> dict[str, Any]:
        """As a mapping that TOML and JSON can hold."""
        return to_mapping(self)  # type: ignore[no-any-return]

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], where: str = "run") -> RunConfig:
        """From a mapping, such as `config.json` holds it, also of a run of version 0.1.

        Raises:
            ConfigError: a value of the wrong kind, or a combination that cannot be. UnknownNameError: an unknown key.
        """
        return from_mapping(cls, _from_first_form(mapping) if is_first_form(mapping) else mapping, where)


def is_first_form(mapping: Mapping[str, Any]) -> bool:
    """Whether this is the configuration of a run, or of a training, of version 0.1."""
    return "compression" not in mapping and not {"cut", "finetune"}.isdisjoint(mapping)


def _from_first_form(old: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a run of version 0.1, in today's form."""
    if "cut" not in old:  # a training alone
        old = {**old, "base": old["finetune"], "finetune": {}}
    cut = {EARLIER_NAMES.get(name, name): value for name, value in old.get("cut", {}).items()}
    shared = ("rounds", "between", "verify", "calibration", "images", "seed")
    repair: list[Any] = ["repair"] if old.get("repair") else []
    if not repair and old.get("recalibrate"):
        repair = [{"step": "recalibrate", "images": old["recalibrate"]}]
    finetune = {"step": "finetune"} | dict(old.get("finetune", {}))
    compression = cut | {name: old[name] for name in shared if name in old} | {"after": [*repair, finetune]}
    kept = ("model", "weights", "arguments", "data_set", "data_root", "base", "device")
    return {name: old[name] for name in kept if name in old} | {"compression": compression}
