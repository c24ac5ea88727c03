"""The optimizer, and its state as named tensors, so that it can be saved as data."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reconv.errors import TrainingError
from reconv.training.protocol import Protocol

_NORMS = (
    nn.modules.batchnorm._BatchNorm,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.modules.instancenorm._InstanceNorm,
)


def build_optimizer(model: nn.Module, protocol: Protocol) -> torch.optim.Optimizer:
    """SGD or AdamW over the model's trainable parameters, decayed as the protocol says."""
    decayed = decayed_parameters(model, protocol)
    decay = 0.0 if protocol.decay_to_start else protocol.weight_decay  # else `StartingPoint` does it
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {
            "params": [parameter for parameter in trainable if parameter in decayed],
            "weight_decay": decay,
        },
        {"params": [parameter for parameter in trainable if parameter not in decayed], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise TrainingError("optimizer: the model has no parameter that requires a gradient; unfreeze some.")
    if protocol.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=protocol.learning_rate)
    return torch.optim.SGD(groups, lr=protocol.learning_rate, momentum=protocol.momentum, nesterov=protocol.nesterov)


def decayed_parameters(model: nn.Module, protocol: Protocol) -> set[nn.Parameter]:
    """The trainable parameters that weight decay is for."""
    spared = set() if protocol.decay_all else _biases_and_norms(model)
    return {parameter for parameter in model.parameters() if parameter.requires_grad and parameter not in spared}


def _biases_and_norms(model: nn.Module) -> set[nn.Parameter]:
    return {
        parameter
        for module in model.modules()
        for name, parameter in module.named_parameters(recurse=False)
        if isinstance(module, _NORMS) or name == "bias"
    }


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state, such as momentum, as `<kind>:<parameter's name>` -> tensor."""
    return {
        f"{kind}:{name}": value
        for name, parameter in model.named_parameters()
        for kind, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave, in each parameter's memory order and on its device."""
    parameters = dict(model.named_parameters())
    optimizer.state.clear()
    for key, value in tensors.items():
        kind, name = key.split(":", 1)
        parameter = parameters[name]
        same = value.shape == parameter.shape
        optimizer.state[parameter][kind] = (
            torch.empty_like(parameter, dtype=value.dtype).copy_(value) if same else value
        )
