"""Networks whose file fixes the number of images: their shapes are told apart from it, so that batches can run.

An exported view such as `[24, 2, 1936]` holds the batch as a factor of one of its sizes. Run without data on three
times the images, every signal has grown along one axis, and the view's entry at the same place in memory is the one
that grows. Whether that is right is tried out: several images at once must give what each gives by itself.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from reconv.deploy.onnx.modules import Reshape
from reconv.deploy.onnx.network import OnnxNetwork
from reconv.graph.copies import copy_model, parameters_and_buffers

_TIMES = 3
_TOLERANCE = 1e-4


def without_data(network: OnnxNetwork) -> OnnxNetwork:
    """A copy whose parameters and buffers have shapes alone."""
    parameters, buffers = parameters_and_buffers(network)
    empty: dict[int, Any] = {id(t): nn.Parameter(t.to("meta"), t.requires_grad) for t in parameters.values()}
    empty |= {id(t): t.to("meta") for t in buffers.values()}
    result: Any = copy_model(network, empty)
    return result  # type: ignore[no-any-return]


def free_batch(network: OnnxNetwork) -> bool:
    """Let the network run on any number of images, in place; returns whether it does."""
    views = {name: module for name, module in network.named_modules() if isinstance(module, Reshape)}
    before = {name: module._entries for name, module in views.items()}
    try:
        _follow_batch(network, views)
        if _runs_batches(network):
            return True
    except Exception:  # whatever the operators make of another number of images
        pass
    for name, module in views.items():
        module._entries = before[name]
    return False


def _follow_batch(network: OnnxNetwork, views: dict[str, Reshape]) -> None:
    empty = without_data(network)
    shapes: dict[str, tuple[int, ...]] = {}
    copies = {name: module for name, module in empty.named_modules() if isinstance(module, Reshape)}

    def note(name: str) -> Any:
        return lambda _, inputs: shapes.update({name: tuple(inputs[0].shape)})

    handles = [module.register_forward_pre_hook(note(name)) for name, module in copies.items()]
    with torch.no_grad():
        empty(*_inputs(network, 1))
    for handle in handles:
        handle.remove()

    def adapt(name: str) -> Any:
        def hook(module: Any, inputs: Any) -> None:
            _adapt(module, views[name], shapes[name], tuple(inputs[0].shape))

        return hook

    for name, module in copies.items():
        module.register_forward_pre_hook(adapt(name))
    with torch.no_grad():
        empty(*_inputs(network, _TIMES))


def _inputs(network: OnnxNetwork, times: int) -> list[Tensor]:
    program = network.program
    return [
        torch.empty((times * shape[0], *shape[1:]), dtype=value.dtype, device="meta")
        for value, shape in zip(program.inputs, program.example, strict=True)
    ]


def _adapt(view: Reshape, original: Reshape, before: tuple[int, ...], now: tuple[int, ...]) -> None:
    """Let the entry of a view, and of its original, grow that stands where the grown axis of its input does."""
    grown = [axis for axis, (a, b) in enumerate(zip(before, now, strict=True)) if a != b]
    if len(grown) != 1:
        return
    stride = math.prod(before[: grown[0]])
    sizes = view._observed
    places = [i for i in range(len(sizes)) if math.prod(sizes[:i]) == stride]
    place = next((i for i in places if sizes[i] == 1), places[0] if places else None)
    if place is not None and view._entries[place] is None:
        view.infer(place)
        original.infer(place)


def _runs_batches(network: OnnxNetwork) -> bool:
    """Whether two inputs at once give what each gives by itself."""
    generator = torch.Generator().manual_seed(0)
    program = network.program
    parts = [
        [
            torch.rand(shape, generator=generator).to(value.dtype)
            for value, shape in zip(program.inputs, program.example, strict=True)
        ]
        for _ in range(2)
    ]
    with torch.no_grad():
        single = [_outputs(network(*part)) for part in parts]
        both = _outputs(network(*(torch.cat(pair) for pair in zip(*parts, strict=True))))
    for together, *each in zip(both, *single, strict=True):
        apart = torch.cat(each)
        if together.shape != apart.shape:
            return False
        if not bool(((together - apart).abs().max() <= _TOLERANCE * apart.abs().max().clamp(min=1e-30)).item()):
            return False
    return True


def _outputs(outputs: Any) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)
