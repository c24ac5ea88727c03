"""A training protocol: everything that decides the result of a training, besides the model, the data and the
seed.

Protocols are TOML files in `protocols/`, one per idea; a user's own file has the same keys.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_type_hints

from reconv.data import Augmentation, DataSet, DataSource
from reconv.errors import ConfigError, unknown_name
from reconv.files import read_text, read_toml
from reconv.mappings import from_mapping, read_value, to_mapping

LATER_KEYS = (
    "decay_to_start",
    "frozen_norms",
    "keep_start",
    "base_teaches",
    "feature_distillation",
)  # left out of a cell's key where false
_FOLDER = resources.files("reconv.training") / "protocols"


@dataclass(frozen=True)
class Protocol:
    """How to train.

    Attributes:
        name: of the file it comes from.
        description: one line, for people.
        epochs: passes over the training images.
        batch_size: images per step, over all processes together.
        optimizer: "sgd" or "adamw".
        learning_rate: its highest value.
        momentum, nesterov: of SGD.
        weight_decay: L2 penalty (SGD) or decay (AdamW).
        decay_all: also of biases and of normalization layers' parameters.
        decay_to_start: the decay pulls towards the weights that the training begins with, not towards zero.
        frozen_norms: BatchNorm layers keep the statistics that they begin with.
        keep_start: the weights that the training begins with come back where its last epoch is worse on the
            validation split.
        schedule: "constant"; "step": times `gamma` after each of `milestones`, in epochs; "cosine": to zero
            at the end.
        milestones, gamma: of the step schedule.
        warmup_epochs: the learning rate rises linearly from zero in these.
        label_smoothing: probability spread evenly over all classes.
        clip_norm: the gradient's norm is cut to this; 0: it is not.
        accumulate: parts that a batch is worked off in, to save memory.
        ema: decay per step of the exponential moving average of the weights, which is then the result; 0: none.
        mixup, cutmix: parameter of the Beta distribution that images are mixed by; 0: they are not.
        distillation: the part of the loss that is the distance to a teacher's scores, if a teacher is given.
        temperature: by which both scores are divided for it.
        base_teaches: the network before pruning is the teacher, where none is named.
        feature_distillation: what the distance to the teacher's features is multiplied by in the loss: of the layers
            that pruning left all their outputs and took inputs; 0: they are not learned.
        padding, flip, resized_crop, trivial, erasing: see `reconv.data.Augmentation`.
        precision: "fp32", or mixed precision "bf16" or "fp16".
        channels_last: memory order of images and kernels; faster on most devices.
        compile: run the model through `torch.compile`.
    """

    epochs: int
    learning_rate: float
    name: str = "custom"
    description: str = ""
    batch_size: int = 128
    optimizer: Literal["sgd", "adamw"] = "sgd"
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 5e-4
    decay_all: bool = True
    schedule: Literal["constant", "step", "cosine"] = "constant"
    milestones: tuple[float, ...] = ()
    gamma: float = 0.1
    warmup_epochs: float = 0.0
    label_smoothing: float = 0.0
    clip_norm: float = 0.0
    accumulate: int = 1
    ema: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    distillation: float = 0.5
    temperature: float = 4.0
    padding: int = 0
    flip: bool = False
    resized_crop: bool = False
    trivial: bool = False
    erasing: float = 0.0
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    channels_last: bool = True
    compile: bool = False
    decay_to_start: bool = False
    frozen_norms: bool = False
    keep_start: bool = False
    base_teaches: bool = False
    feature_distillation: float = 0.0

    def __post_init__(self) -> None:
        """Check each value against its annotation and its range."""
        for name, hint in _hints().items():
            value = read_value(hint, getattr(self, name), f"protocol {self.name}: {name}")
            object.__setattr__(self, name, value)
            expected, holds = _RANGES.get(name, ("", None))
            if holds is not None and not holds(value):
                raise ConfigError(f"protocol {self.name}: {name} = {value!r}; give {expected}")

    @property
    def augmentation(self) -> Augmentation:
        """What is done to the training images."""
        return Augmentation(self.padding, self.flip, self.resized_crop, self.trivial, self.erasing)

    def override(self, changes: Mapping[str, Any]) -> Protocol:
        """The protocol with some keys changed.

        Raises:
            UnknownNameError: a key that no protocol has; the nearest ones are offered.
            ConfigError: a value of the wrong kind or out of range.
        """
        return _read(vars(self) | dict(changes), self.name)

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        mapping: dict[str, Any] = to_mapping(self)
        return mapping


@cache
def _hints() -> dict[str, Any]:
    return get_type_hints(Protocol)


_Range = tuple[str, Callable[[Any], bool]]
_NOT_NEGATIVE: _Range = ("a finite number, 0 or more", lambda value: 0 <= value < math.inf)
_POSITIVE: _Range = ("a finite number of more than 0", lambda value: 0 < value < math.inf)
_AT_LEAST_ONE: _Range = ("a number of 1 or more", lambda value: value >= 1)
_BELOW_ONE: _Range = ("a fraction in [0, 1)", lambda value: 0 <= value < 1)
_FRACTION: _Range = ("a fraction in [0, 1]", lambda value: 0 <= value <= 1)
_INCREASING: _Range = (
    "increasing numbers of epochs",
    lambda value: all(number > 0 for number in value) and list(value) == sorted(set(value)),
)
# What a key's value has to be, and how that is checked.
_RANGES: dict[str, _Range] = {
    **dict.fromkeys(
        ("epochs", "weight_decay", "warmup_epochs", "clip_norm", "mixup", "cutmix", "padding", "feature_distillation"),
        _NOT_NEGATIVE,
    ),
    **dict.fromkeys(("learning_rate", "gamma", "temperature"), _POSITIVE),
    **dict.fromkeys(("batch_size", "accumulate"), _AT_LEAST_ONE),
    **dict.fromkeys(("momentum", "label_smoothing", "ema"), _BELOW_ONE),
    **dict.fromkeys(("distillation", "erasing"), _FRACTION),
    "milestones": _INCREASING,
}


def _read(values: Mapping[str, Any], name: str) -> Protocol:
    """A protocol from its keys, checked; 1 counts as 1.0 where a number is wanted."""
    return from_mapping(Protocol, {"name": name} | dict(values), f"protocol {name}")


# --- by name ------------------------------------------------------------------------------------------------

# What a name that stands for several protocols means for a data set; "" for any other.
_DIGITS, _SMALL = 16, 96  # pixels on the longer side
_ALIASES: dict[str, dict[str, str]] = {
    "paper": {"imagenet": "paper-imagenet", "": "paper-cifar"},
    "default": {"digits": "digits", "": "paper-base"},
    "default-finetune": {"digits": "digits-finetune", "imagenet": "paper-imagenet", "": "paper-cifar"},
    "default-after-repair": {"digits": "digits-finetune", "": "after-repair"},
    "default-between": {"digits": "digits-short", "": "short"},
}


def protocol_names() -> tuple[str, ...]:
    """The protocols that come with the package."""
    return tuple(sorted(file.name.removesuffix(".toml") for file in _FOLDER.iterdir() if file.name.endswith(".toml")))


def load_protocol(name: str, data_set: DataSet | str = "", overrides: Mapping[str, Any] | None = None) -> Protocol:
    """A protocol by name or from a TOML file, with keys changed.

    Args:
        name: one of `protocol_names()`; "paper", "default", "default-finetune", "default-after-repair" or
            "default-between" (rounds of pruning), which depend on the data set; or the path of a TOML file with a
            protocol's keys.
        data_set: the data set, or its name.
        overrides: keys of `Protocol` and their values.

    Raises:
        UnknownNameError: no such protocol or key; the nearest ones are offered.
        ConfigError: a value of the wrong kind or out of range.
        ArtifactError: a file that cannot be read.
    """
    if name.endswith(".toml"):
        protocol = _read(read_toml(Path(name)), Path(name).stem)
    else:
        key = _shipped(name, data_set)
        protocol = _read(read_toml(_FOLDER / f"{key}.toml"), key)
    return protocol.override(overrides or {})


def protocol_text(name: str, data_set: DataSet | str = "") -> str:
    """The TOML file of a protocol that comes with the package, as it is.

    Raises:
        UnknownNameError: no such protocol; the nearest ones are offered.
    """
    return read_text(_FOLDER / f"{_shipped(name, data_set)}.toml")


def _shipped(name: str, data_set: DataSet | str) -> str:
    """The protocol of the package that a name stands for."""
    key = name.lower()
    if key in _ALIASES:
        key = _ALIASES[key].get(_kind(data_set), _ALIASES[key][""])
    if key not in protocol_names():
        raise unknown_name("protocol", name, (*protocol_names(), *_ALIASES))
    return key


def _kind(data: DataSet | str) -> str:
    """The data set that a protocol is for, by the size of the images; a folder's are photographs, as ImageNet's are."""
    if isinstance(data, DataSet):
        size: tuple[int, ...] | None = data.input_size
    elif not data:
        return ""
    else:
        source = DataSource.registry.get(data)
        size = None if source is None else source.input_size
    side = max(size[1:], default=0) if size else math.inf
    return "digits" if side <= _DIGITS else "" if side <= _SMALL else "imagenet"


def parse_overrides(texts: Iterable[str]) -> dict[str, Any]:
    """Keys of a protocol and their values from `key=value` texts, as the command line takes them.

    Args:
        texts: values as TOML has them: `flip=true`, `milestones=[20,40]`; text needs no quotes: `schedule=cosine`.

    Raises:
        ConfigError: no `=`, or a key twice. UnknownNameError: a key that no protocol has.
    """
    values: dict[str, Any] = {}
    for text in texts:
        key, equals, value = (part.strip() for part in text.partition("="))
        key = key.replace("-", "_")
        if not equals or not value:
            raise ConfigError(f"protocol key {text!r}: no value; write key=value, such as learning_rate=0.01")
        if key in values:
            raise ConfigError(f"protocol key {key}: given twice; give it once")
        if key not in Protocol.__dataclass_fields__:
            raise unknown_name("protocol key", key, Protocol.__dataclass_fields__)
        values[key] = _toml_value(value)
    return values


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
