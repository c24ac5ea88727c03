"""BatchNorm after a convolution becomes part of it: one linear map of the input instead of two.

With gamma, beta, mean and variance of a BatchNorm in evaluation mode, and s = gamma / sqrt(variance + eps), a kernel W
and a bias b become s W and s (b - mean) + beta. The bias takes the place of one of BatchNorm's own tensors, so that a
program keeps its inputs; what is left of BatchNorm's is read by nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

_CONVOLUTIONS = {
    overload
    for name in ("conv1d", "conv2d", "conv3d")
    for overload in (getattr(torch.ops.aten, name).default, getattr(torch.ops.aten, name).padding)
}
_BATCH_NORM = torch.ops.aten.batch_norm.default


@dataclass(frozen=True)
class Fold:
    """One convolution and the BatchNorm after it, by the names of their tensors in a state dict; None: there is none.

    Args:
        kernel, bias: of the convolution. gamma, beta, mean, variance: of BatchNorm.
        eps: added to the variance.
    """

    kernel: str
    bias: str | None
    gamma: str | None
    beta: str | None
    mean: str
    variance: str
    eps: float

    @property
    def bias_in(self) -> str:
        """Which tensor holds the new bias."""
        return self.bias or self.beta or self.mean

    def tensors(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The new kernel and the new bias, under the names that hold them; computed in float64."""

        def read(name: str | None) -> Tensor | None:
            return None if name is None else state[name].detach().double()

        kernel, mean, variance = state[self.kernel].detach().double(), state[self.mean].double(), state[self.variance]
        scale = (variance.double() + self.eps).rsqrt()
        gamma, beta, bias = read(self.gamma), read(self.beta), read(self.bias)
        scale = scale if gamma is None else scale * gamma
        shift = ((0.0 if bias is None else bias) - mean) * scale + (0.0 if beta is None else beta)
        dtype = state[self.kernel].dtype
        kernel = kernel * scale.view(-1, *[1] * (kernel.dim() - 1))
        return {self.kernel: kernel.to(dtype), self.bias_in: shift.to(dtype)}


def fold_batch_norm(program: torch.export.ExportedProgram) -> list[Fold]:
    """Fold each BatchNorm of a program into the convolution before it, where nothing else reads what is between them.

    Args:
        program: of a network in evaluation mode; it is changed, the network's own tensors are not.

    Returns:
        What was folded.
    """
    names = {**program.graph_signature.inputs_to_parameters, **program.graph_signature.inputs_to_buffers}
    outputs = {spec.arg.name for spec in program.graph_signature.output_specs if hasattr(spec.arg, "name")}
    state: dict[str, Any] = program.state_dict
    folds = []
    for norm in list(program.graph.nodes):
        found = _fold_at(norm, names, state) if norm.op == "call_function" and norm.target is _BATCH_NORM else None
        if found is None or norm.name in outputs:
            continue
        fold, convolution, holder = found
        for name, tensor in fold.tensors(state).items():
            is_parameter = isinstance(state[name], nn.Parameter)
            state[name] = nn.Parameter(tensor, requires_grad=False) if is_parameter else tensor
        source, kernel, _, *rest = [*convolution.args, None, None][: max(3, len(convolution.args))]
        convolution.args = (source, kernel, holder, *rest)
        norm.replace_all_uses_with(convolution)
        program.graph.erase_node(norm)
        folds.append(fold)
    program.graph_module.recompile()
    return folds


def _fold_at(
    norm: fx.Node, names: Mapping[str, str], state: Mapping[str, Tensor]
) -> tuple[Fold, fx.Node, fx.Node] | None:
    """How a BatchNorm is folded, the convolution, and the node of the tensor that will hold the bias; None: not."""
    inputs: Any = norm.args
    convolution, gamma, beta, mean, variance, training, _, eps, *_ = inputs
    if training or not isinstance(convolution, fx.Node) or convolution.target not in _CONVOLUTIONS:
        return None
    kernel: Any = convolution.args[1]
    bias: Any = convolution.args[2] if len(convolution.args) > 2 else None
    nodes = [node for node in (kernel, bias, gamma, beta, mean, variance) if node is not None]
    owned = all(isinstance(node, fx.Node) and names.get(node.name) in state and len(node.users) == 1 for node in nodes)
    if len(convolution.users) > 1 or not owned or not state[names[kernel.name]].is_floating_point():
        return None

    def name(node: Any) -> str | None:
        return None if node is None else names[node.name]

    fold = Fold(names[kernel.name], name(bias), name(gamma), name(beta), names[mean.name], names[variance.name], eps)
    return fold, convolution, next(node for node in (bias, beta, mean) if node is not None)
