"""From a file of weights to a filled model: formats, wrappers, prefixes, and why weights do not fit."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from reconv.errors import ArtifactError, ConfigError, WeightsError
from reconv.files import PathLike, read_bytes, read_metadata, read_tensors, write_tensors
from reconv.provenance import FILE_KEY, Provenance, file_metadata, provenance_of

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "weights")
_PREFIXES = ("module.", "_orig_mod.", "model.")
_SHOWN = 3
_Module = TypeVar("_Module", bound=nn.Module)


def read_weights(path: PathLike) -> dict[str, Tensor]:
    """The tensors of a weights file by name, on the CPU.

    Args:
        path: `.safetensors`, or what `torch.save` wrote (`.pth`, `.pt`, `.th`, `.tar`), read with
            `weights_only=True`. A state dict wrapped as `state_dict` or `model` is unwrapped; prefixes that
            all names share (`module.` of data parallelism, `_orig_mod.` of compilation) are dropped.

    Raises:
        ArtifactError: missing, truncated or corrupt; or it holds more than tensors.
    """
    if Path(path).suffix == ".safetensors":
        return _without_prefixes(read_tensors(path))
    content = BytesIO(read_bytes(path))
    try:
        saved = torch.load(content, map_location="cpu", weights_only=True)
    except Exception as error:  # a corrupt file makes the unpickler fail in any way
        raise ArtifactError(_unreadable(path, error)) from None
    return _without_prefixes(_state_dict(saved, path))


def _unreadable(path: PathLike, error: Exception) -> str:
    if found := re.search(r"Unsupported (?:global|class)\S* (?:GLOBAL )?(\S+)", str(error)):
        return (
            f"{path}: truncated, or it holds a Python object ({found[1]}) besides tensors, which is never "
            "unpickled here; save only the weights: torch.save(model.state_dict(), path)."
        )
    return f"{path}: truncated, or not a file of weights ({type(error).__name__}); copy or download it again."


def _state_dict(content: Any, path: PathLike) -> dict[str, Tensor]:
    while isinstance(content, Mapping):
        if content and all(isinstance(value, Tensor) for value in content.values()):
            return {str(name): tensor.detach() for name, tensor in content.items()}
        wrapper = next((key for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if wrapper is None:
            break
        content = content[wrapper]
    held = ", ".join(map(str, list(content)[:5])) if isinstance(content, Mapping) else type(content).__name__
    raise ArtifactError(
        f"{path}: no table of tensors in it (it holds: {held or 'nothing'}); give a state dict, bare or as "
        "`state_dict` or `model`."
    )


def _without_prefixes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in _PREFIXES * 2:
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def write_weights(model: nn.Module, path: PathLike) -> None:
    """Save a model's weights as safetensors that say which model and normalization they belong to.

    Raises:
        ConfigError: a pruned model, whose weights alone do not rebuild it.
        ArtifactError: the file cannot be written.
    """
    if provenance_of(model).edits:
        raise ConfigError(
            f"{path}: the weights of a pruned model do not rebuild it; save it with reconv.save(model, path)."
        )
    write_tensors(path, model.state_dict(), weights_metadata(model))


def weights_metadata(model: nn.Module) -> dict[str, str]:
    """The metadata by which a file of weights says which model it belongs to."""
    return file_metadata(provenance_of(model))


def recorded_provenance(path: PathLike) -> Provenance | None:
    """What `weights_metadata` says in this file; None for any other file."""
    if Path(path).suffix != ".safetensors":
        return None
    text = read_metadata(path).get(FILE_KEY)
    if text is None:
        return None
    try:
        return Provenance.from_json(json.loads(text), str(path))
    except (json.JSONDecodeError, RecursionError):
        raise ArtifactError(f"{path}: its metadata is not JSON; save the weights again.") from None


def check_weights(model: nn.Module, tensors: Mapping[str, Tensor], where: object) -> None:
    """Refuse tensors that are not this model's, by name, shape and finiteness.

    Args:
        model: the model; may be on the meta device.
        tensors: by name. BatchNorm's `num_batches_tracked` may be missing.
        where: the file's name, for the message.

    Raises:
        WeightsError: naming the first tensors that differ, with both shapes; or the one that holds NaN or
            infinity.
    """
    expected = model.state_dict()
    differences = [
        f"{name} is {_shape(tensors[name])} in the file, {_shape(tensor)} in the model"
        for name, tensor in expected.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    differences += [
        f"{name} {_shape(tensor)} is missing"
        for name, tensor in expected.items()
        if name not in tensors and not _optional(name)
    ]
    differences += [
        f"{name} {_shape(tensor)} is not in the model" for name, tensor in tensors.items() if name not in expected
    ]
    if differences:
        more = f"; and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
        raise WeightsError(
            f"{where}: the weights do not fit {_title(model)}: {'; '.join(differences[:_SHOWN])}{more}. "
            "Give the weights of this model, or the model (and number of classes) of these weights."
        )
    learnt = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    for name, tensor in tensors.items():
        # Bounds and masks are buffers, and may be infinite.
        found = name in learnt or name.endswith(("running_mean", "running_var"))
        unsound = ~torch.isfinite(tensor) if found else torch.isnan(tensor)
        if tensor.is_floating_point() and bool(unsound.any()):
            bad = int(unsound.sum())
            raise WeightsError(
                f"{where}: {name} holds NaN or infinity ({bad} of {tensor.numel()} values); give weights of "
                "a training that did not diverge."
            )


def fill(model: _Module, tensors: Mapping[str, Tensor], where: object) -> _Module:
    """Put tensors in the place of a model's own, dtype included, and return the same model.

    Args:
        model: a model of the same names and shapes, on the meta device or not; its tied parameters stay tied.
        tensors: by name, which become the model's parameters and buffers themselves.
        where: the file's name, for messages.

    Raises:
        WeightsError: see `check_weights`.
    """
    check_weights(model, tensors, where)
    placed: dict[int, nn.Parameter] = {}
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        for name, old in module.named_parameters(recurse=False, remove_duplicate=False):
            if id(old) not in placed:
                placed[id(old)] = nn.Parameter(tensors[prefix + name], requires_grad=old.requires_grad)
            setattr(module, name, placed[id(old)])
        for name, buffer in module.named_buffers(recurse=False, remove_duplicate=False):
            if prefix + name in tensors:
                setattr(module, name, tensors[prefix + name])
            elif _optional(name):
                setattr(module, name, torch.zeros(buffer.shape, dtype=buffer.dtype))
    return model


def _optional(name: str) -> bool:
    return name.endswith("num_batches_tracked")


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))


def _title(model: nn.Module) -> str:
    spec = provenance_of(model).spec
    return spec.name if spec else type(model).__name__
