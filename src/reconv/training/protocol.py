"""A training protocol: everything that decides the result of a training, besides the model, the data and the
seed.

Protocols are TOML files in `protocols/`, one an idea; a user's own file has the same keys.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from reconv.data import Augmentation, DataSet, DataSource
from reconv.errors import ConfigError, unknown_name
from reconv.files import read_text, read_toml

_FOLDER = resources.files("reconv.training") / "protocols"

OPTIMIZERS = ("sgd", "adamw")
SCHEDULES = ("constant", "step", "cosine")
PRECISIONS = ("fp32", "bf16", "fp16")


@dataclass(frozen=True)
class Protocol:
    """How to train.

    Attributes:
        name: of the file it comes from.
        description: one line, for people.
        epochs: passes over the training images.
        batch_size: images a step, over all processes together.
        optimizer: "sgd" or "adamw".
        learning_rate: its highest value.
        momentum, nesterov: of SGD.
        weight_decay: L2 penalty (SGD) or decay (AdamW).
        decay_all: also of biases and of normalization layers' parameters.
        schedule: "constant"; "step": times `gamma` after each of `milestones`, in epochs; "cosine": to zero
            at the end.
        milestones, gamma: of the step schedule.
        warmup_epochs: the learning rate rises linearly from zero in these.
        label_smoothing: probability spread evenly over all classes.
        clip_norm: the gradient's norm is cut to this; 0: it is not.
        accumulate: parts that a batch is worked off in, to save memory.
        ema: decay a step of the exponential moving average of the weights, which is then the result; 0: none.
        mixup, cutmix: parameter of the Beta distribution that images are mixed by; 0: they are not.
        distillation: the part of the loss that is the distance to a teacher's scores, if a teacher is given.
        temperature: by which both scores are divided for it.
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
    optimizer: str = "sgd"
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 5e-4
    decay_all: bool = True
    schedule: str = "constant"
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
    precision: str = "fp32"
    channels_last: bool = True
    compile: bool = False

    def __post_init__(self) -> None:
        """Check each value against its rule."""
        for field in fields(self):
            value = _coerced(getattr(self, field.name), str(field.type))
            holds, expected = _RULES.get(field.name, _ANY)
            if value is None or not holds(value):
                raise ConfigError(
                    f"protocol {self.name}: {field.name} = {getattr(self, field.name)!r}; expected {expected}, "
                    f"as {_KINDS[str(field.type)]}."
                )
            object.__setattr__(self, field.name, value)

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
        return replace(self, **_known_keys(changes))

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self) | {"milestones": list(self.milestones)}


_Rule = tuple[Callable[[Any], bool], str]
_ANY: _Rule = (lambda value: True, "a value")
_AT_LEAST_0: _Rule = (lambda value: 0 <= value < math.inf, "0 or more")
_AT_LEAST_1: _Rule = (lambda value: value >= 1, "1 or more")
_ABOVE_0: _Rule = (lambda value: 0 < value < math.inf, "more than 0")
_FRACTION: _Rule = (lambda value: 0 <= value < 1, "a fraction in [0, 1)")
_PART: _Rule = (lambda value: 0 <= value <= 1, "a fraction in [0, 1]")


def _one_of(names: tuple[str, ...]) -> _Rule:
    return lambda value: value in names, f"one of {', '.join(names)}"


_RULES: dict[str, _Rule] = {
    "epochs": _AT_LEAST_0,
    "learning_rate": _ABOVE_0,
    "batch_size": _AT_LEAST_1,
    "optimizer": _one_of(OPTIMIZERS),
    "momentum": _FRACTION,
    "weight_decay": _AT_LEAST_0,
    "schedule": _one_of(SCHEDULES),
    "milestones": (
        lambda value: all(number > 0 for number in value) and list(value) == sorted(set(value)),
        "increasing numbers of epochs",
    ),
    "gamma": _ABOVE_0,
    "warmup_epochs": _AT_LEAST_0,
    "label_smoothing": _FRACTION,
    "clip_norm": _AT_LEAST_0,
    "accumulate": _AT_LEAST_1,
    "ema": _FRACTION,
    "mixup": _AT_LEAST_0,
    "cutmix": _AT_LEAST_0,
    "distillation": _PART,
    "temperature": _ABOVE_0,
    "padding": _AT_LEAST_0,
    "erasing": _PART,
    "precision": _one_of(PRECISIONS),
}
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "tuple[float, ...]": "a list of numbers",
}


def _coerced(value: Any, kind: str) -> Any:
    """The value as the field's type has it, such as 1 as 1.0; None if it is of another kind."""
    if kind == "float":
        return float(value) if type(value) in (int, float) and value == value else None
    if kind == "tuple[float, ...]":
        numbers = value if isinstance(value, list | tuple) else (None,)
        return None if any(type(item) not in (int, float) for item in numbers) else tuple(map(float, numbers))
    return value if type(value).__name__ == kind else None


def _known_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    known = [field.name for field in fields(Protocol)]
    for key in values:
        if key not in known:
            raise unknown_name("protocol key", key, known)
    return dict(values)


# --- by name ------------------------------------------------------------------------------------------------

# What a name that stands for several protocols means for a data set; "" for any other.
_DIGITS, _SMALL = 16, 96  # pixels on the longer side
_ALIASES: dict[str, dict[str, str]] = {
    "paper": {"imagenet": "paper-imagenet", "": "paper-cifar"},
    "default": {"digits": "digits", "": "paper-base"},
    "default-finetune": {"digits": "digits-finetune", "imagenet": "paper-imagenet", "": "paper-cifar"},
    "default-between": {"digits": "digits-short", "": "short"},
}


def protocol_names() -> tuple[str, ...]:
    """The protocols that come with the package."""
    return tuple(sorted(file.name.removesuffix(".toml") for file in _FOLDER.iterdir() if file.name.endswith(".toml")))


def load_protocol(name: str, data_set: DataSet | str = "", overrides: Mapping[str, Any] | None = None) -> Protocol:
    """A protocol by name or from a TOML file, with keys changed.

    Args:
        name: one of `protocol_names()`; "paper", "default", "default-finetune" or "default-between" (rounds of
            pruning), which depend on the data set; or the path of a TOML file with a protocol's keys.
        data_set: the data set, or its name.
        overrides: keys of `Protocol` and their values.

    Raises:
        UnknownNameError: no such protocol or key; the nearest ones are offered.
        ConfigError: a value of the wrong kind or out of range.
        ArtifactError: a file that cannot be read.
    """
    if name.endswith(".toml"):
        protocol = _read(Path(name), Path(name).stem)
    else:
        key = _shipped(name, data_set)
        protocol = _read(_FOLDER / f"{key}.toml", key)
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
        values[key] = _toml_value(value)
    return _known_keys(values)


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _read(path: Path | Traversable, name: str) -> Protocol:
    values = _known_keys(read_toml(path))
    missing = [key for key in ("epochs", "learning_rate") if key not in values]
    if missing:
        raise ConfigError(f"protocol {name}: {path} does not give {' and '.join(missing)}; add them.")
    return Protocol(**{"name": name} | values)
