"""What a network is called with, in batches: one tensor, or a structure of tensors.

A tensor or a list is the one argument of a call (torchvision's detectors take a list of images), a tuple holds
positional arguments, a mapping keyword arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from reconv.errors import DataError

LABEL_KEYS = ("labels", "label", "targets", "target")  # of batches that are mappings, as Hugging Face's are


def call(model: nn.Module, inputs: Any) -> Any:
    """The model's outputs for a batch."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def batch_size(inputs: Any) -> int:
    """How many images a batch has."""
    if isinstance(inputs, Tensor | list):
        return len(inputs)
    return len(tensors_of(inputs)[0])


def tensors_of(inputs: Any) -> list[Tensor]:
    """All tensors in a structure; at least one.

    Raises:
        DataError: it has none.
    """
    tensors = [leaf for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor)]
    if not tensors:
        raise DataError(f"data: inputs of kind {type(inputs).__name__} without a tensor; give tensors.")
    return tensors


def as_example(inputs: Any) -> Any:
    """A batch as `trace` takes an example: a list is one argument."""
    return (inputs,) if isinstance(inputs, list) else inputs


def first_images(inputs: Any, number: int) -> Any:
    """The first images of a batch."""
    if isinstance(inputs, Tensor | list):
        return inputs[:number]
    size = batch_size(inputs)
    return tree_map(lambda x: x[:number] if isinstance(x, Tensor) and x.ndim and len(x) == size else x, inputs)


def on_device(value: Any, device: torch.device) -> Any:
    """Inputs or targets of any structure, their tensors moved to a device."""
    return tree_map(lambda leaf: leaf.to(device, non_blocking=True) if isinstance(leaf, Tensor) else leaf, value)
