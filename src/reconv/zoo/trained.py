"""Small trained networks that come with reconv, so that a first run need not train one.

Each is two files in `trained/`: `<model>-<data set>.safetensors`, and a TOML file of the same name that says what was
measured and how it was made. All were trained by reconv itself, by the command in that file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import torch

from reconv.errors import ArtifactError, UnknownNameError
from reconv.files import PathLike, read_metadata, read_tensors, read_toml, write_atomically, write_tensors
from reconv.registry import spelling
from reconv.zoo.sources import canonical_name

FOLDER = Path(str(files("reconv.zoo") / "trained"))


@dataclass(frozen=True)
class TrainedNet:
    """A trained network of the package.

    Attributes:
        model, data_set: by the names that `load_model` and `load_data` take.
        weights: its file, in half precision; `load_model` makes single precision of it.
        accuracy: top-1 on the test images, of the network as it is in the file.
        protocol: what it was trained by, in words. command: that made it.
        seconds: the training took, on `machine`.
    """

    model: str
    data_set: str
    weights: Path
    accuracy: float
    protocol: str
    command: str
    seconds: float
    machine: str

    def __str__(self) -> str:
        """One line: what it is and how good."""
        return (
            f"{self.model}, trained by reconv on {self.data_set} ({self.protocol}), test accuracy {self.accuracy:.2%}"
        )


@cache
def trained_nets(folder: Path = FOLDER) -> tuple[TrainedNet, ...]:
    """The trained networks that come with reconv, by name."""
    nets = []
    for path in sorted(folder.glob("*.toml")):
        try:
            nets.append(TrainedNet(weights=path.with_suffix(".safetensors"), **read_toml(path)))
        except TypeError as error:
            raise ArtifactError(
                f"{path}: does not describe a trained network ({error}); install reconv again."
            ) from None
    return tuple(nets)


def find_trained(model: str, data_set: str, folder: Path | None = None) -> TrainedNet | None:
    """The trained network of this architecture for this data set; None if there is none.

    Args:
        model: a name in any spelling that `load_model` takes, or anything else.
        data_set: a name in any spelling that `load_data` takes, or anything else.
        folder: where to look; None: in the package.
    """
    try:
        name = canonical_name(model)
    except UnknownNameError:
        return None
    key = spelling(data_set)
    return next((net for net in trained_nets(folder or FOLDER) if (net.model, net.data_set) == (name, key)), None)


def write_trained(net: TrainedNet, source: PathLike) -> float:
    """Make the two files of a trained network out of a file of its weights in single precision.

    Args:
        net: what is known of it; `net.weights` is where the weights go, the TOML file beside it.
        source: safetensors of a saved model, such as `model/weights.safetensors` of a training.

    Returns:
        The largest relative change of a weight by rounding to half precision.

    Raises:
        ArtifactError: a weight that half precision cannot hold, or a file that cannot be read or written.
    """
    tensors = read_tensors(source)
    halves = {name: value.half() if value.is_floating_point() else value for name, value in tensors.items()}
    changes = [0.0]
    for name, value in tensors.items():
        if not value.is_floating_point() or not value.numel():
            continue
        change = (halves[name].double() - value.double()).abs().max() / value.double().abs().max().clamp(min=1e-30)
        if not torch.isfinite(change):
            raise ArtifactError(f"{source}: {name} has values that half precision cannot hold; ship it in single.")
        changes.append(float(change))
    write_tensors(net.weights, halves, read_metadata(source))
    rows = {name: value for name, value in vars(net).items() if name != "weights"}
    text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in rows.items())
    write_atomically(net.weights.with_suffix(".toml"), text)
    trained_nets.cache_clear()
    return max(changes)
