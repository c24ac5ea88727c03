"""What every cut must obey, whatever the network: shared by the tests of tracing, planning and surgery.

The measured costs come from PyTorch's own flop counter and from the tensors of the pruned model, never from ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from flops import multiply_adds
from reconv.graph import ChannelGraph, trace
from reconv.plan import Budget, Plan, choose
from reconv.saliency import score
from reconv.surgery import prune, verify

TOLERANCE = 1e-10


def randomized(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model with statistics, scales and shifts that hide nothing: no zero, no one, no tiny layer scale."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(tensor: Tensor, low: float, high: float) -> Tensor:
        return torch.rand(tensor.shape, generator=generator).to(tensor.dtype) * (high - low) + low

    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if not tensor.is_floating_point():
                continue
            if name.endswith("running_var"):
                tensor.copy_(drawn(tensor, 0.5, 1.5))
            elif name.endswith("running_mean"):
                tensor.copy_(drawn(tensor, -0.2, 0.2))
            elif isinstance(tensor, nn.Parameter) and (tensor.dim() < 2 or float(tensor.abs().max()) < 1e-3):
                around = 1.0 if name.endswith("weight") or float(tensor.abs().max()) > 0.5 else 0.0
                tensor.copy_(drawn(tensor, around - 0.3, around + 0.3))
    return model


def measured_macs(model: nn.Module, example: Any) -> int:
    """Multiply-adds for one image, as PyTorch counts them."""
    return multiply_adds(lambda: call(model.eval(), example))


def call(model: nn.Module, example: Any) -> Any:
    if isinstance(example, dict):
        return model(**example)
    return model(*example) if isinstance(example, (tuple, list)) else model(example)


def loss_of(outputs: Any) -> Tensor:
    return sum(
        (t.float().square().mean() for t in pytree.tree_leaves(outputs) if isinstance(t, Tensor)), torch.zeros(())
    )


def check_training_step(model: nn.Module, example: Any) -> None:
    """One step of gradient descent runs and reaches every weight that the full model would train."""
    model.train()
    two = pytree.tree_map_only(Tensor, lambda t: t.expand(2, *t.shape[1:]).clone(), example)
    loss_of(call(model, two)).backward()
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3).step()
    model.eval()


def check_cut(plan: Plan, example: Any, *, train: bool = True, tolerance: float = TOLERANCE) -> nn.Module:
    """Everything that must hold of a plan that is carried out."""
    model = plan.graph.model
    small = prune(model, plan)
    with torch.no_grad():
        shapes = [pytree.tree_map_only(Tensor, lambda t: t.shape, call(m.eval(), example)) for m in (model, small)]
    assert shapes[0] == shapes[1]
    assert verify(model, small, plan) <= tolerance
    assert sum(p.numel() for p in small.parameters()) == plan.params[1]
    assert measured_macs(small, example) == plan.macs[1]
    assert measured_macs(model, example) == plan.macs[0]
    if train:
        check_training_step(small, example)
    return small


@dataclass(frozen=True)
class Cut:
    scheme: str
    removed: float
    coupled: bool

    def __str__(self) -> str:
        return f"{self.scheme}-{self.removed:.0%}{'-coupled' if self.coupled else ''}"


CUTS = tuple(
    Cut(*row)
    for row in (("uniform", 0.3, False), ("uniform", 0.3, True), ("global", 0.5, False), ("global", 0.5, True))
)


def planned(graph: ChannelGraph, cut: Cut, criterion: str = "l2") -> Plan:
    budget = Budget(channels=1 - cut.removed)
    return choose(graph, score(graph, criterion), budget, scheme=cut.scheme, coupled=cut.coupled)  # type: ignore[arg-type]


def check_network(build: Callable[[], nn.Module], example: Any, cuts: tuple[Cut, ...] = CUTS) -> ChannelGraph:
    """Every cut of the table, on one network."""
    model = randomized(build()).eval()
    graph = trace(model, example)
    if not any(group.stream for group in graph.groups):  # a coupled cut is the same cut
        cuts = tuple(cut for cut in cuts if not cut.coupled)
    for cut in cuts:
        check_cut(planned(graph, cut), example)
    return graph
