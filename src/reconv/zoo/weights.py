"""From a file of weights to a filled model: formats, wrappers, prefixes, and why weights do not fit."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from reconv.errors import ArtifactError, ConfigError, WeightsError
from reconv.files import PathLike, memory, parse_json, read_metadata, read_tensors, write_tensors
from reconv.provenance import FILE_KEY, Provenance, file_metadata, provenance_of
from reconv.zoo.torch_file import read_torch_file

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "weights")
_PREFIXES = ("module.", "_orig_mod.", "model.")
_MOST_WRAPPERS = 8  # tables within each other; one may hold itself
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
    return _without_prefixes(_state_dict(read_torch_file(path), path))


def _state_dict(content: Any, path: PathLike) -> dict[str, Tensor]:
    for _ in range(_MOST_WRAPPERS):
        if not isinstance(content, Mapping):
            break
        if content and all(isinstance(value, Tensor) for value in content.values()):
            return {str(name): _plain(tensor, str(name), path) for name, tensor in content.items()}
        wrapper = next((key for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if wrapper is None:
            break
        content = content[wrapper]
    held = ", ".join(map(_short, list(content)[:5])) if isinstance(content, Mapping) else type(content).__name__
    raise ArtifactError(
        f"{path}: no table of tensors in it (it holds: {held or 'nothing'}); give a state dict, bare or as "
        "`state_dict` or `model`."
    )


def _plain(tensor: Tensor, name: str, path: PathLike) -> Tensor:
    """A tensor whose values are all there, one by one."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_nested or tensor.is_meta:
        kind = "nested" if tensor.is_nested else "quantized" if tensor.is_quantized else str(tensor.layout)
        kind = "meta" if tensor.is_meta else kind.removeprefix("torch.")
        raise ArtifactError(f"{path}: {name} is a {kind} tensor; give one that holds each of its values.")
    if tensor.numel() * tensor.element_size() > max(memory() // 2, tensor.untyped_storage().nbytes()):
        raise ArtifactError(f"{path}: {name} is {_shape(tensor)}, more than this machine's memory holds.")
    return tensor.detach()


def _short(value: object) -> str:
    return value[:40] if isinstance(value, str) else reprlib.repr(value)


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
    return Provenance.from_json(parse_json(text, f"{path}: its metadata"), str(path))


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
        f"{name} is of {tensors[name].dtype} in the file, of {tensor.dtype} in the model"
        for name, tensor in expected.items()
        if name in tensors and _kind(tensors[name]) != _kind(tensor)
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
        if not tensor.is_floating_point() and not tensor.is_complex():
            continue
        values = tensor.float() if tensor.itemsize == 1 else tensor  # float8 knows neither
        unsound = ~torch.isfinite(values) if found else torch.isnan(values)
        if bool(unsound.any()):
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


def _kind(tensor: Tensor) -> str:
    """Whole numbers are no weights, and complex ones no real ones; of one kind, the precision may differ."""
    return "complex" if tensor.is_complex() else "real" if tensor.is_floating_point() else "whole"


def _optional(name: str) -> bool:
    return name.endswith("num_batches_tracked")


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))


def _title(model: nn.Module) -> str:
    spec = provenance_of(model).spec
    return spec.name if spec else type(model).__name__
