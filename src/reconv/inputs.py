"""What a network is called with: one tensor, or a structure of tensors, of several images.

A tensor or a list is the one argument of a call (torchvision's detectors take a list of images), a tuple holds
positional arguments, a mapping keyword arguments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from reconv.errors import DataError


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


def part_of(inputs: Any, part: slice) -> Any:
    """Some of the images of a batch."""
    if isinstance(inputs, Tensor | list):
        return inputs[part]
    size = batch_size(inputs)
    return tree_map(lambda x: x[part] if isinstance(x, Tensor) and x.ndim and len(x) == size else x, inputs)


def first_images(inputs: Any, number: int) -> Any:
    """The first images of a batch."""
    return part_of(inputs, slice(number))


def joined(batches: Sequence[Any]) -> Any:
    """One batch of all the images of several; what does not count images is the first one's.

    Raises:
        DataError: images of different sizes.
    """
    if isinstance(batches[0], list):
        return [image for batch in batches for image in batch]
    sizes = [batch_size(batch) for batch in batches]

    def join(*values: Any) -> Any:
        counting = isinstance(values[0], Tensor) and values[0].ndim and len(values[0]) == sizes[0]
        return torch.cat(values) if counting else values[0]

    try:
        return tree_map(join, *batches)
    except (RuntimeError, ValueError) as error:
        raise DataError("data: inputs of different shapes or forms; bring all to one.") from error


def on_device(value: Any, device: torch.device) -> Any:
    """Inputs or targets of any structure, their tensors moved to a device."""
    return tree_map(lambda leaf: leaf.to(device, non_blocking=True) if isinstance(leaf, Tensor) else leaf, value)
