"""A task of the user's own, in a Python file that the user names: its data, its loss, its metric.

train_loader = DataLoader(...)          # of (input, target); or a function that gives it
val_loader = ...                        # each of these may be left out
def loss(outputs, targets): ...         # to be minimized by fine-tuning
def metric(outputs, targets): ...       # a number, for the figures
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from reconv.data import DataSet, as_data_set
from reconv.errors import ConfigError
from reconv.inputs import tensors_of
from reconv.training import Metric
from reconv.training.evaluation import as_metric
from reconv.zoo.code import import_code

_LOADERS = {
    "train_loader": "train",
    "val_loader": "validation",
    "test_loader": "test",
    "calibration_loader": "calibration",
}
NAMES = ("example", *_LOADERS, "loss", "metric")


@dataclass(frozen=True, eq=False)
class Task:
    """What a file of the user's defines.

    Args:
        name: of the file. data: its loaders; None where it has none. example: an input of the network.
        loss, metric: of outputs and targets.
    """

    name: str
    data: DataSet | None = None
    example: Any = None
    loss: Callable[[Any, Any], Tensor] | None = None
    metric: Metric | None = None


def load_task(path: str, seed: int = 0) -> Task:
    """Import a file and take what it defines: any of `example`, `train_loader`, `val_loader`, `test_loader`,
    `calibration_loader`, `loss`, `metric`. All but loss and metric may be functions without arguments.

    Args:
        path: of the file; or a module. seed: which images are held out where a split is missing.

    Raises:
        ConfigError: it cannot be imported, or defines none of these. DataError: a loader that cannot be used.
    """
    module = import_code(path)
    defined = {name: getattr(module, name) for name in NAMES if getattr(module, name, None) is not None}
    _check_names(path, vars(module), defined)
    parts = {part: _value(path, name, defined[name]) for name, part in _LOADERS.items() if name in defined}
    example = _value(path, "example", defined["example"]) if "example" in defined else None
    for name in ("loss", "metric"):
        if name in defined and not callable(defined[name]) and not isinstance(defined[name], Metric):
            raise ConfigError(
                f"{path}: {name} is a {type(defined[name]).__name__}; give a function of (outputs, targets)"
            )
    if example is not None:
        tensors_of(example)
    return Task(
        name=str(path).rpartition("/")[2],
        data=as_data_set(parts, seed=seed) if parts else None,
        example=example,
        loss=defined.get("loss"),
        metric=as_metric(defined.get("metric")),
    )


def _value(path: str, name: str, value: Any) -> Any:
    """The value itself, or what a function gives."""
    if isinstance(value, nn.Module) or not callable(value) or hasattr(value, "__iter__"):
        return value
    try:
        return value()
    except TypeError as error:
        raise ConfigError(
            f"{path}: {name}() fails ({error}); give a function without arguments, or the object"
        ) from error


def _check_names(path: str, names: Any, defined: Any) -> None:
    if not defined:
        raise ConfigError(f"{path}: defines none of {', '.join(NAMES)}; define at least one")
    for name in names:
        if name.endswith("_loader") and not name.startswith("_") and name not in NAMES:
            near = difflib.get_close_matches(name, NAMES, n=1)
            advice = f"did you mean {near[0]}?" if near else f"known: {', '.join(_LOADERS)}"
            raise ConfigError(f"{path}: {name} is not known; {advice}")
