"""Models as they come out of use: hooked, locked, compiled, wrapped. They are left as they were, or refused by name."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from laws import CUTS, check_cut, planned, randomized
from nets import Net, conv, head
from torch import Tensor, nn

import reconv
from reconv.errors import GraphError, WeightsError
from reconv.graph import trace
from reconv.surgery import prune, verify

EXAMPLE = torch.randn(1, 3, 8, 8)
SEEN: list[Tensor] = []


def plain() -> nn.Sequential:
    return nn.Sequential(conv(3, 8), nn.ReLU(), conv(8, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()


class Collector:
    def __init__(self) -> None:
        self.outputs: dict[str, list[Tensor]] = defaultdict(list)
        self.last: Tensor | None = None

    def __call__(self, _: nn.Module, inputs: Any, output: Tensor) -> None:
        self.outputs["all"].append(output)
        self.last = output


def test_hooks_of_the_user_see_nothing_of_a_trace_or_a_proof() -> None:
    inside: dict[str, Any] = {"last": None, "all": []}
    counts = [0]
    collector = Collector()
    SEEN.clear()

    def keep(_: nn.Module, inputs: Any, output: Tensor) -> None:
        inside["last"] = output
        inside["all"].append(output)
        counts[0] += 1

    model = plain()
    model[0].register_forward_hook(keep)
    model[0].register_forward_hook(lambda module, inputs, output: SEEN.append(output))
    model[0].register_forward_hook(collector)
    model[2].register_forward_pre_hook(lambda module, inputs: SEEN.append(inputs[0]))
    plan = planned(trace(model, EXAMPLE), CUTS[0])
    small = prune(model, plan)
    assert verify(model, small, plan) < 1e-10
    assert (inside, counts, SEEN, collector.outputs, collector.last) == ({"last": None, "all": []}, [0], [], {}, None)
    model(EXAMPLE)
    assert (counts, len(SEEN), len(collector.outputs["all"])) == ([1], 2, 1)


def test_a_hook_that_changes_what_passes_is_followed() -> None:
    model = plain()
    model[0].register_forward_hook(lambda module, inputs, output: output.sum(1, keepdim=True).expand(-1, 8, -1, -1))
    graph = trace(randomized(model), EXAMPLE)
    check_cut(planned(graph, CUTS[-1]), EXAMPLE)


@pytest.mark.parametrize("lock", [threading.Lock, threading.RLock])
def test_a_lock_is_no_hindrance(lock: Callable[[], Any]) -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        with m.lock:
            return head(m.b(m.a(x)))

    model = Net(forward, a=conv(3, 8), b=conv(8, 4))
    model.lock = lock()
    graph = trace(randomized(model).eval(), EXAMPLE)
    with model.lock:  # the copies have their own
        check_cut(planned(graph, CUTS[0]), EXAMPLE) if lock is threading.RLock else prune(
            model, planned(graph, CUTS[0])
        )


def test_what_cannot_be_copied_is_named(tmp_path: Path) -> None:
    model = nn.Sequential(plain())
    with (tmp_path / "log").open("w") as file:
        model[0].log = file
        with pytest.raises(GraphError, match=r"Sequential\.log: a TextIOWrapper cannot be copied .*; take it out"):
            trace(model, EXAMPLE)


def test_weights_that_a_hook_computes_may_have_gradients() -> None:
    norm = nn.utils.weight_norm
    model = nn.Sequential(norm(conv(3, 8)), nn.ReLU(), norm(conv(8, 6)), nn.ReLU(), conv(6, 4))
    model.features = [model[0].weight * 1]
    model(EXAMPLE).sum().backward()
    graph = trace(model.eval(), EXAMPLE)
    assert [group.reason is None for group in graph.groups] == [True, True, False]
    check_cut(planned(graph, CUTS[0]), EXAMPLE)


def test_compiled_models() -> None:
    with pytest.raises(GraphError, match=r"torch\.compile makes.*give the model itself, model\._orig_mod"):
        trace(torch.compile(plain(), backend="eager"), EXAMPLE)
    model = plain()
    model.compile(backend="eager")
    small = prune(model, planned(trace(model, EXAMPLE), CUTS[0]))
    assert small(EXAMPLE).shape == (1, 4)
    assert model._compiled_call_impl is not None


@pytest.mark.filterwarnings("ignore")
def test_scripted_and_traced_models_are_refused() -> None:
    for model in (torch.jit.script(plain()), torch.jit.trace(plain(), EXAMPLE)):
        with pytest.raises(GraphError, match=r"scripted or traced by torch\.jit .*give the nn\.Module"):
            trace(model, EXAMPLE)
    with pytest.raises(GraphError, match="trace: 1 is scripted"):
        trace(nn.Sequential(conv(3, 3), torch.jit.script(plain())), EXAMPLE)


def test_what_was_pruned_inside_of_a_wrapper_is_saved_without_it(tmp_path: Path) -> None:
    model = nn.DataParallel(plain())
    small = prune(model, planned(trace(model, EXAMPLE), CUTS[0]))
    reconv.save(small.module, tmp_path / "model")
    again = reconv.load(tmp_path / "model", model=plain())
    torch.testing.assert_close(again(EXAMPLE), small(EXAMPLE))


def test_no_score_without_weights() -> None:
    graph = trace(plain().to("meta"), EXAMPLE.to("meta"))
    for criterion in ("random", "l2", "nuclear"):
        with pytest.raises(WeightsError, match=r"meta device.*load weights first"):
            reconv.score(graph, criterion)
