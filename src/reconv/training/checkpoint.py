"""Checkpoints: one safetensors file each, complete or not there.

A file holds the weights, the optimizer's state, the moving average, and in its metadata, as JSON, where
training was: step, history, the running epoch's sums, the gradient scaler, and what was trained with what.
Randomness is a function of seed and step (see `reconv.data.randomness`), on every process, so the step is its
state.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from reconv.data import DataSet
from reconv.errors import ArtifactError, TrainingError
from reconv.files import parse_json, read_metadata, read_tensors, write_tensors
from reconv.provenance import provenance_of
from reconv.training.protocol import Protocol

_PATTERN = "step-{:09d}.safetensors"
_GLOB = "step-*.safetensors"
_UNFINISHED = ".step-*.part"
_KEY = "reconv-checkpoint"
_HASHES = ("weights", "teacher weights")  # which checkpoints of version 0.1 do not say


@dataclass(frozen=True)
class Checkpoint:
    """A moment between two steps.

    Attributes:
        step: steps done.
        identity: what the training is: protocol, seed, data; a checkpoint of another one does not fit.
        progress: JSON-able: history, sums, scaler.
        tensors: by `<part>/<name>`, the parts being "model", "optimizer" and "ema".
    """

    step: int
    identity: Mapping[str, Any]
    progress: Mapping[str, Any]
    tensors: Mapping[str, Tensor] = field(repr=False)

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors of one part, by their names in it."""
        start = f"{name}/"
        return {key.removeprefix(start): value for key, value in self.tensors.items() if key.startswith(start)}


def save_checkpoint(folder: Path, checkpoint: Checkpoint, keep: int) -> Path:
    """Write a checkpoint and delete all but the last `keep`.

    Raises:
        ArtifactError: no space or no rights; the checkpoints before it are untouched.
    """
    path = checkpoint_path(folder, checkpoint.step)
    header = {"step": checkpoint.step, "identity": checkpoint.identity, "progress": checkpoint.progress}
    write_tensors(path, checkpoint.tensors, {_KEY: json.dumps(header, allow_nan=False)})
    for old in checkpoints_in(folder)[:-keep]:
        with contextlib.suppress(OSError):
            old.unlink()
    return path


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where the checkpoint after so many steps is, or would be."""
    return folder / _PATTERN.format(step)


def checkpoints_in(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first."""
    return sorted(folder.glob(_GLOB))


def read_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint.

    Raises:
        ArtifactError: truncated, corrupt, or no checkpoint.
    """
    header = parse_json(read_metadata(path).get(_KEY, "null"), path)
    kinds = {"step": int, "identity": dict, "progress": dict}
    if not isinstance(header, dict) or not all(isinstance(header.get(key), kind) for key, kind in kinds.items()):
        raise ArtifactError(f"{path}: not a checkpoint of a training; give the folder of one.")
    return Checkpoint(header["step"], header["identity"], header["progress"], read_tensors(path))


def latest_checkpoint(folder: Path, identity: Mapping[str, Any], say: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint that can be read.

    Args:
        folder: where they are.
        identity: of the training that goes on.
        say: receives a sentence for each checkpoint that cannot be read.

    Returns:
        The checkpoint; None if there is none at all.

    Raises:
        TrainingError: none can be read, or it belongs to another training; the message says what differs.
    """
    for leftover in folder.glob(_UNFINISHED):  # of a process that was killed while it wrote
        leftover.unlink(missing_ok=True)
    paths = checkpoints_in(folder)
    for path in reversed(paths):
        try:
            checkpoint = read_checkpoint(path)
        except ArtifactError as error:
            say(f"{error} Going on from the checkpoint before it.")
            continue
        _check_identity(path, checkpoint.identity, identity)
        return checkpoint
    if paths:
        raise TrainingError(f"{folder}: none of its {len(paths)} checkpoints can be read; start without resuming.")
    return None


def _check_identity(path: Path, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    here = json.loads(json.dumps(here))
    keys = sorted((set(there) | set(here)) - (set(_HASHES) - set(there)))
    different = [key for key in keys if there.get(key) != here.get(key)]
    if different and set(different) <= set(_HASHES):
        raise TrainingError(
            f"{path}: begun with other {' and '.join(different)} than these; resume with those, or give another folder."
        )
    if different:
        named = [key for key in different if key not in _HASHES]
        pairs = ", ".join(f"{key} {there.get(key)!r} there, {here.get(key)!r} now" for key in named[:5])
        raise TrainingError(
            f"{path}: a checkpoint of another training: {pairs}; resume with the same settings, or give another folder."
        )


def identity_of(
    model: nn.Module,
    data: DataSet,
    protocol: Protocol,
    *,
    seed: int,
    teacher: nn.Module | None,
    loss: Callable[..., Any] | None,
    labels: bool,
) -> dict[str, Any]:
    """What makes two trainings the same one, as far as a checkpoint can tell; arguments as those of `train`."""
    shapes = [(name, tuple(value.shape)) for name, value in model.state_dict().items()]
    return {
        **{f"protocol.{key}": value for key, value in protocol.to_json().items() if key != "description"},
        "seed": seed,
        "data": f"{data.name} of {len(data.train)} training images",
        "normalization": str(provenance_of(model).normalization or data.normalization),
        "shapes": hashlib.sha256(repr(shapes).encode()).hexdigest()[:16],
        "teacher": teacher is not None,
        **({} if loss is None else {"loss": str(getattr(loss, "__name__", type(loss).__name__))}),
        **({} if labels else {"labels": False}),
    }
