"""Every public function leaves what it is not about as it was.

That is the caller's model (weights, buffers, gradients, modes, hooks, flags), the generators of random numbers, the
default dtype, the gradient mode and the number of threads.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import reconv
from reconv.errors import BudgetError
from reconv.files import tensors_fingerprint
from reconv.training import evaluate, finetune, load_protocol, recalibrate

EXAMPLE = torch.zeros(1, 3, 8, 8)


def network() -> nn.Module:
    """A network as a user holds one: in training mode, one BatchNorm frozen, one weight frozen, hooks, a gradient."""
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1)),
        *(nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)),
    )
    model.train()
    model[1].eval()
    model[0].weight.requires_grad_(False)
    model[3].register_forward_hook(lambda module, inputs, outputs: None)
    model[4].register_forward_pre_hook(lambda module, inputs: None)
    model[9].register_full_backward_hook(lambda module, inputs, outputs: None)
    model[3].weight.grad = torch.ones_like(model[3].weight)
    return model


def state_of(model: nn.Module) -> dict[str, Any]:
    modules = list(model.modules())
    return {
        "modules": [id(module) for module in modules],
        "attributes": [sorted(vars(module)) for module in modules],
        "modes": [module.training for module in modules],
        "hooks": [
            [list(getattr(module, name)) for name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")]
            for module in modules
        ],
        "flags": [parameter.requires_grad for parameter in model.parameters()],
        "gradients": [None if p.grad is None else p.grad.sum().item() for p in model.parameters()],
        "tensors": tensors_fingerprint(model.state_dict()),
        "storage": [tensor.data_ptr() for tensor in model.state_dict().values()],
    }


def global_state() -> dict[str, Any]:
    return {
        "torch": torch.get_rng_state().tolist(),
        "numpy": np.random.get_state()[1].tolist(),  # noqa: NPY002
        "dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "backends": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
    }


@dataclass(frozen=True)
class Given:
    """What public functions are called with."""

    model: nn.Module
    small: nn.Module
    graph: reconv.ChannelGraph
    scores: reconv.Saliency
    plan: reconv.Plan
    images: Tensor
    loader: DataLoader[tuple[Tensor, ...]]
    folder: Path


@pytest.fixture
def given(tmp_path: Path) -> Given:
    model = network()
    graph = reconv.trace(model, EXAMPLE)
    scores = reconv.score(graph, "l1")
    plan = reconv.choose(graph, scores, reconv.Budget(macs=0.5))
    small = reconv.prune(model, plan)
    images = torch.randn(32, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    loader = DataLoader(TensorDataset(images, torch.arange(32) % 4), batch_size=16)
    return Given(model, small, graph, scores, plan, images, loader, tmp_path)


PROTOCOL = replace(load_protocol("short"), epochs=1, batch_size=16)

CALLS: dict[str, Callable[[Given], object]] = {
    "trace": lambda g: reconv.trace(g.model, EXAMPLE),
    "score": lambda g: reconv.score(g.graph, "nuclear"),
    "score at random": lambda g: reconv.score(g.graph, "random"),
    "score_all": lambda g: reconv.score_all(g.graph, ["l1", "spectral"]),
    "choose": lambda g: reconv.choose(g.graph, g.scores, reconv.Budget(macs=0.5)),
    "choose for a latency": lambda g: reconv.choose(g.graph, g.scores, reconv.Budget(latency=0.99)),
    "choose_widths": lambda g: reconv.choose_widths(g.graph, g.scores, {g.graph.groups[0].name: 4}),
    "prune": lambda g: reconv.prune(g.model, g.plan),
    "verify": lambda g: reconv.verify(g.model, g.small, g.plan),
    "repair": lambda g: reconv.repair(g.small, plan=g.plan, reference=g.model, images=g.images),
    "gather_moments": lambda g: reconv.gather_moments(g.graph, g.images),
    "gather_gradients": lambda g: reconv.gather_gradients(g.graph, g.loader),
    "error_curves": lambda g: reconv.error_curves(g.graph, reconv.gather_moments(g.graph, g.images)),
    "dead_leaves": lambda g: reconv.dead_leaves(2, 16),
    "profile": lambda g: reconv.profile(g.graph),
    "measure_latency": lambda g: reconv.measure_latency([g.model], EXAMPLE, runs=2, warmup=1),
    "measure_memory": lambda g: reconv.measure_memory(g.model, EXAMPLE),
    "measure_layers": lambda g: reconv.measure_layers(g.graph, multiple=4),
    "evaluate": lambda g: evaluate(g.model, g.loader),
    "recalibrate": lambda g: recalibrate(g.model, g.images),
    "finetune": lambda g: finetune(g.small, g.loader, PROTOCOL),
    "save": lambda g: reconv.save(g.model, g.folder / "model"),
    "save and load": lambda g: [reconv.save(g.small, g.folder / "m"), reconv.load(g.folder / "m", model=g.model)],
    "export": lambda g: reconv.export(g.model, g.folder / "model.pt2", example=EXAMPLE, to="torch"),
    "channel_norms": lambda g: reconv.channel_norms(g.model[3].weight, reconv.ConvGeometry(8, 3, padding=1)),
}


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return [name for name, value in before.items() if after[name] != value]


@pytest.mark.parametrize("name", CALLS)
def test_it_leaves_everything_else_as_it_was(given: Given, name: str) -> None:
    models = {"model": given.model, "small": given.small}
    torch.manual_seed(1)
    before = {which: state_of(model) for which, model in models.items()} | {"global": global_state()}
    with contextlib.suppress(BudgetError):  # a latency that this machine does not reach now
        CALLS[name](given)
    after = {which: state_of(model) for which, model in models.items()} | {"global": global_state()}
    assert {which: changes(before[which], after[which]) for which in before} == {which: [] for which in before}


def test_a_failing_function_leaves_it_too(given: Given) -> None:
    before = state_of(given.model), global_state()
    for call in (
        lambda: reconv.trace(given.model, torch.zeros(1, 5, 8, 8)),
        lambda: reconv.verify(given.model, given.model, given.plan),
        lambda: reconv.measure_memory(given.model, torch.zeros(1, 5, 8, 8)),
        lambda: reconv.choose(given.graph, given.scores, reconv.Budget(macs=1e-9)),
    ):
        with pytest.raises(Exception):  # noqa: B017
            call()
    assert (state_of(given.model), global_state()) == before
