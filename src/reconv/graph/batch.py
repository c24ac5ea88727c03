"""How many images an example holds, so that costs can be said for one of them.

The first axis of an input is a batch only where the layers see it as one: not of an image `[C, H, W]` alone, of images
in a list, or of the frames of one spectrogram.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import _pytree as pytree

from reconv.graph.copies import copy_without_data, without_data
from reconv.graph.record import Record
from reconv.graph.tracing import call_arguments

_CONVOLUTION = "aten.convolution"
_RECURRENT = {"aten.mkldnn_rnn_layer": "hx_", "aten._cudnn_rnn": "hx", "aten.miopen_rnn": "hx"}  # and its first state


def images_in(model: nn.Module, example: Any, record: Record) -> int:
    """The number of images in an example, or of whatever the network takes many of at once.

    Args:
        model: the traced one. example: what it was traced on. record: of the run.
    """
    args, kwargs = call_arguments(example)
    values = [*args, *kwargs.values()]
    lengths = list(_lengths(values))
    seen, uses, reader = _seen_first(record)
    if seen in lengths or (reader == "recurrent" and seen in _second_axes(values)):
        images = seen
    elif any(len(images) == seen * uses for images in _lists(values)):
        images = seen * uses  # one after the other
    else:
        images = next((length for length in lengths if length and seen % length == 0), 1)
    return images if images == 1 or reader or _doubles(model, example, images) else 1


def _lengths(values: Any) -> Iterator[int]:
    """Of every list of tensors, and of the first axis of every tensor."""
    for value in values:
        if isinstance(value, Tensor):
            if value.dim():
                yield len(value)
        elif isinstance(value, Mapping):
            yield from _lengths(value.values())
        elif isinstance(value, (list, tuple)):
            if value and all(isinstance(item, Tensor) for item in value):
                yield len(value)
            yield from _lengths(value)


def _second_axes(values: Any) -> list[int]:
    """Of every tensor of at least three axes: a recurrent layer takes `[steps, sequences, features]`."""
    return [t.shape[1] for t in pytree.tree_leaves(values) if isinstance(t, Tensor) and t.dim() > 2]


def _lists(values: Any) -> Iterator[list[Any]]:
    for value in values:
        if isinstance(value, (list, tuple)):
            yield list(value)
            yield from _lists(value)


def _seen_first(record: Record) -> tuple[int, int, str]:
    """What the first convolution or recurrent layer takes for its batch, how often it runs, and which of them it is.

    Without any: how many rows the first layer multiplies.
    """
    for call in record.operations:
        if isinstance(record.modules.get(call.module), nn.RNNBase | nn.RNNCellBase):
            return _rows_of_state(record, call.module), 1, "recurrent"
        if call.operator == _CONVOLUTION and not call.value(call["input"]).static:
            weight = call.value(call["weight"]).parameter
            uses = sum(other.parameter == weight for other in record.calls) if weight else 1
            return int(call["input"].shape[0]), uses, "convolution"
    return (record.calls[0].positions if record.calls else 1), 1, ""


def _rows_of_state(record: Record, module: str) -> int:
    """How many sequences a recurrent layer takes at once: rows of what it passes from step to step."""
    fused = [call for call in record.operations if call.operator in _RECURRENT and call.module == module]
    rows = [int(call[_RECURRENT[call.operator]].shape[-2]) for call in fused]  # [..., sequences, features]
    if not fused:  # step by step
        states = (f"{module}.weight_hh", f"{module}.weight_hh_l0") if module else ("weight_hh", "weight_hh_l0")
        rows = [call.positions for call in record.calls if call.parameter in states]
    return max(rows, default=1)


def _doubles(model: nn.Module, example: Any, images: int) -> bool:
    """Whether a network without convolutions gives twice as much for twice as many rows: it mixes none of them."""
    fake = FakeTensorMode(allow_non_fake_inputs=True)

    def more(tensor: Tensor) -> Tensor:
        return torch.cat([tensor, tensor]) if tensor.dim() and len(tensor) == images else tensor

    def sizes(inputs: Any) -> list[int]:
        args, kwargs = call_arguments(without_data(inputs, fake))
        copy = copy_without_data(model, fake).eval()
        with torch.no_grad(), fake:
            outputs = copy(*args, **kwargs)
        return [t.numel() for t in pytree.tree_leaves(outputs) if isinstance(t, Tensor)]

    try:
        once, twice = sizes(example), sizes(pytree.tree_map_only(Tensor, more, example))
    except Exception:  # of the user's code, on an input that the user did not give
        return False
    return [2 * size for size in once] == twice
