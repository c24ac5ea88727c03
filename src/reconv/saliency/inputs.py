"""What criteria may read besides weights: second moments of a layer's input, and gradients of a loss.

`Moments` are gathered by `reconv.gather_moments`, from images without labels; `Gradients` here, from any loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from reconv.errors import ConfigError, DataError
from reconv.graph.channels import ChannelGraph, Layer
from reconv.modes import evaluating

Direction: TypeAlias = Literal["forward", "backward"]


@dataclass(frozen=True, eq=False)
class Moments:
    """What one layer reads, and what it makes of it.

    Args:
        gram: [groups, inputs, inputs], float64; the last input is the constant if `constant`.
        matrix: of layer and BatchNorm, [groups, inputs, outputs], float64.
        energy: mean squared length of the signal at the end of the layer's chain.
        taps: inputs that belong to one channel.
        constant: whether the last input is the constant one.
        rows: of some of the images, [images, rows of each, groups, inputs], by which errors on images that are left
            out are told; None: they are not.
        count: how many rows the Gram matrix is of.
    """

    gram: Tensor
    matrix: Tensor
    energy: float
    taps: int
    constant: bool
    rows: Tensor | None = None
    count: int = 0

    def __repr__(self) -> str:
        groups, inputs, outputs = self.matrix.shape
        return (
            f"Moments(groups={groups}, inputs={inputs}, outputs={outputs}, energy={self.energy:.4g}, taps={self.taps})"
        )


@dataclass(frozen=True, eq=False)
class Gradients:
    """How a loss changes with one layer, over batches of data; float64 on the weight's device.

    Args:
        mean: mean over the batches of dL/dw, in the shape of `ChannelGraph.weight`.
        square: mean over the batches of (dL/dw)^2.
        output_gate: [C_out], mean over the batches of (dL/dz)^2, for a factor z = 1 on every output channel: behind the
            BatchNorm that follows where it has a scale and a shift, else behind the layer.
        input_gate: [C_in], the same for a factor on every channel that the layer reads.
    """

    mean: Tensor
    square: Tensor
    output_gate: Tensor
    input_gate: Tensor


def gather_gradients(
    graph: ChannelGraph,
    batches: Iterable[Any],
    loss: Callable[..., Tensor] | None = None,
) -> dict[str, Gradients]:
    """Gradients of a loss by the weights of every layer, in evaluation mode; the model is left as it was.

    Args:
        graph: of the network.
        batches: of (inputs, targets), such as a `DataLoader`, or of inputs alone, such as `images.split(64)`;
            normalized as the network expects. Each batch counts by its number of inputs. Squares are of a batch's
            gradient: batches of one input give the empirical Fisher information, larger ones are faster.
        loss: (outputs, targets) -> one number, a mean over the batch; (outputs) -> one number for batches without
            targets. Cross-entropy by default.

    Returns:
        Gradients by layer, of the layers whose weight is a parameter that the loss depends on.

    Raises:
        ConfigError: not batches, or not a loss. DataError: no batch, no targets, or a loss that is not finite.

    Cost: a forward and a backward pass; 16 bytes for every weight.

    Example:
        >>> import torch, reconv
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> graph = reconv.trace(model, torch.randn(1, 4))
        >>> batches = [(torch.randn(16, 4), torch.randint(2, (16,)))]
        >>> gradients = reconv.gather_gradients(graph, batches)
        >>> reconv.score(graph, "taylor", gradients=gradients).values["0"].shape
        torch.Size([8])
    """
    if not isinstance(graph, ChannelGraph):
        raise ConfigError(
            f"gather_gradients: got a {type(graph).__name__}; give its graph, reconv.trace(model, example)"
        )
    if isinstance(batches, Tensor) or not isinstance(batches, Iterable):
        raise ConfigError(
            f"gather_gradients: batches is a {type(batches).__name__}; give a DataLoader, a list of (inputs, targets), "
            "or images.split(64) with a loss of the outputs alone"
        )
    if loss is not None and not callable(loss):
        raise ConfigError(f"gather_gradients: loss is {loss!r:.60}; give a function of outputs and targets")
    model = graph.model
    device = next(model.parameters()).device
    sums: dict[str, list[Tensor]] = {}
    total = 0
    cuda = [device] if device.type == "cuda" else []
    with evaluating(model), torch.random.fork_rng(cuda), torch.inference_mode(False), torch.enable_grad():
        # Gradients are taken by copies, so that the model's own parameters, their flags and gradients are not touched.
        copies = {id(p): p.detach().clone().requires_grad_(p.is_floating_point()) for p in model.parameters()}
        leaves = {name: copies[id(p)] for name, p in model.named_parameters(remove_duplicate=False)}
        trained = [leaf for leaf in copies.values() if leaf.requires_grad]
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers(remove_duplicate=False)}
        for number, batch in enumerate(batches, 1):
            inputs, targets = _on(device, batch)
            value = _loss_value(loss, functional_call(model, leaves | buffers, (inputs,)), targets, number)
            slopes = dict(zip(map(id, trained), torch.autograd.grad(value, trained, allow_unused=True), strict=True))
            pairs = {
                name: (leaf.detach().double(), slope.double())
                for name, leaf in leaves.items()
                if (slope := slopes.get(id(leaf))) is not None
            }
            for layer in graph.layers:
                if layer.weight in pairs:
                    parts = [len(inputs) * part for part in _parts(layer, pairs)]
                    before = sums.get(layer.name)
                    sums[layer.name] = parts if before is None else [a + b for a, b in zip(before, parts, strict=True)]
            total += len(inputs)
    if not total:
        raise DataError("gather_gradients: no batch; give at least one")
    return {name: Gradients(*(part / total for part in parts)) for name, parts in sums.items()}


def by_channel(weight: Tensor, layer: Layer, direction: Direction) -> Tensor:
    """[C, n]: what belongs to each output channel (backward: input channel) of a tensor in the weight's shape."""
    transposed = layer.kind == "conv_transposed"
    if (direction == "forward") != transposed:
        return weight.flatten(1)
    # The axis inside the groups: [g, first / g, second, ...] -> [g * second, ...]
    by_group = weight.reshape(layer.groups, -1, *weight.shape[1:])
    return by_group.transpose(1, 2).flatten(0, 1).flatten(1)


def _parts(layer: Layer, pairs: Mapping[str, tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The fields of `Gradients` for one batch, from every parameter's value and gradient by name."""
    assert layer.weight is not None
    weight, slope = (tensor.T if layer.inputs_first else tensor for tensor in pairs[layer.weight])
    # What a factor on a channel changes is what the same factor on all parameters that make it (read it) changes.
    makes, reads = (by_channel(weight * slope, layer, direction).sum(1) for direction in ("forward", "backward"))
    norm = None if layer.norm is None else pairs.get(layer.norm)
    if norm is not None:
        makes = norm[0] * norm[1]
    shift = pairs.get(((layer.norm if norm else layer.weight) or "").rpartition(".")[0] + ".bias")
    if shift is not None:
        makes = makes + shift[0] * shift[1]
    return slope, slope.square(), makes.square(), reads.square()


def _on(device: torch.device, batch: Any) -> tuple[Tensor, Any]:
    inputs, targets = (batch, None) if isinstance(batch, Tensor) else (*batch, None)[:2]
    if not isinstance(inputs, Tensor):
        raise ConfigError(f"gather_gradients: a batch is {batch!r:.60}; give (inputs, targets), or a tensor of inputs")
    return inputs.to(device), targets.to(device) if isinstance(targets, Tensor) else targets


def _loss_value(loss: Callable[..., Tensor] | None, outputs: Any, targets: Any, number: int) -> Tensor:
    if loss is None and targets is None:
        raise DataError("gather_gradients: batches of inputs alone have no labels; give a loss of the outputs, loss=")
    if loss is None and not isinstance(outputs, Tensor):
        raise ConfigError(f"gather_gradients: the network gives a {type(outputs).__name__}; give a loss of it, loss=")
    function: Callable[..., Tensor] = loss or F.cross_entropy
    value = function(outputs) if targets is None else function(outputs, targets)
    if not isinstance(value, Tensor) or value.numel() != 1:
        shape = tuple(value.shape) if isinstance(value, Tensor) else value
        raise ConfigError(f"gather_gradients: the loss gives {shape!r:.60}; return one number, such as the mean")
    if not torch.isfinite(value):
        raise DataError(f"gather_gradients: the loss of batch {number} is {value.item()}; check its images and labels")
    return value
