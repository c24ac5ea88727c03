"""A repaired network computes what the original did, as far as what is left can, and nothing else changes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from repair_nets import EXAMPLE, NETS, Preactivated, Residual, Shared, images, settled
from torch import Tensor, nn

from reconv.errors import ConfigError, DataError, GraphError, WrongKindError
from reconv.graph import trace
from reconv.plan import Budget, Plan, choose
from reconv.refit import Settings, dead_leaves, error_curves, gather_moments, repair, repair_with_report
from reconv.refit.chains import find_chains
from reconv.saliency import score
from reconv.surgery import prune, verify

MANY = Settings(points=64, ridge=1e-7)


def cut(model: nn.Module, macs: float = 0.6, criterion: str = "l2") -> tuple[nn.Module, Plan]:
    graph = trace(model, EXAMPLE)
    plan = choose(graph, score(graph, criterion), Budget(macs=macs))
    return prune(model, plan), plan


def distance(a: Tensor, b: Tensor) -> float:
    return float(((a - b).norm() / b.norm()).detach())


@pytest.mark.parametrize("name", NETS)
def test_it_comes_closer_to_the_original(name: str) -> None:
    model = settled(NETS[name]())
    small, plan = cut(model)
    repaired, report = repair_with_report(small, plan=plan, reference=model, images=images(96), settings=MANY)
    fresh = images(64, seed=1)
    assert distance(repaired(fresh), model(fresh)) < 0.8 * distance(small(fresh), model(fresh))
    assert report.layers
    worse = [row for row in report.layers if row.after > row.before]
    assert not worse


@pytest.mark.parametrize("name", ["Plain", "Residual", "Preactivated", "Dense"])
def test_channels_that_others_can_replace_cost_nothing(name: str) -> None:
    """Half of every group's channels are made copies of the other half: what is cut can be restored exactly."""
    model = settled(NETS[name]())
    graph = trace(model, EXAMPLE)
    scores = score(graph, "random")
    for group in graph.groups:
        if group.reason or group.stream:
            continue
        steps = group.steps(torch.arange(group.size).numpy())
        for layer in group.producers:
            for first, second in zip(steps[::2], steps[1::2]):
                for a, b in zip(group.units[first], group.units[second]):
                    _make_alike(graph, model, int(a), int(b))
            scores.values[layer].copy_(torch.arange(len(scores.values[layer])) % (2 * len(steps[0])) // len(steps[0]))
    plan = choose(graph, scores, Budget(channels=0.51))
    assert plan.macs[1] < 0.8 * plan.macs[0]
    small = prune(model, plan)
    settings = Settings(points=64, ridge=1e-12, gate_passes=0)
    repaired = repair(small, plan=plan, reference=model, images=images(96), settings=settings)
    fresh = images(64, seed=1)
    assert distance(small(fresh), model(fresh)) > 0.01
    assert distance(repaired(fresh), model(fresh)) < 1e-4


def _make_alike(graph, model: nn.Module, a: int, b: int) -> None:
    """Give class b the outputs that class a has, in every parameter that bears both along its first axis."""
    trained = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for name, planes in graph.parameters.items():
        for plane in planes:
            flat = plane.reshape(len(plane), -1) if plane.shape[0] > 1 else None
            if flat is None or flat.shape[1] > 1 or a not in flat or b not in flat:
                continue
            i, j = (int((flat[:, 0] == unit).nonzero()[0][0]) for unit in (a, b))
            with torch.no_grad():
                trained[name][j] = trained[name][i]


def test_nothing_cut_nothing_solved() -> None:
    model = settled(Residual())
    graph = trace(model, EXAMPLE)
    plan = choose(graph, score(graph, "l2"), Budget(macs=0.999))
    plan = replace(plan, groups=tuple(_whole(plan)))
    repaired, report = repair_with_report(prune(model, plan), plan=plan, reference=model, images=images())
    assert not report.layers
    assert all(torch.equal(a, b) for a, b in zip(repaired.state_dict().values(), model.state_dict().values()))


def _whole(plan: Plan) -> Iterator:
    from dataclasses import replace

    return (replace(row, kept=tuple(range(row.size))) for row in plan.groups)


@pytest.mark.parametrize("name", NETS)
def test_the_network_is_the_one_that_was_walked(name: str) -> None:
    """The report's error of the last layer is that of the network's outputs."""
    model = settled(NETS[name]())
    small, plan = cut(model)
    x = images()
    repaired, report = repair_with_report(small, plan=plan, reference=model, images=x)
    assert report.layers[-1].layer == "head" or name == "Plain"
    error = distance(repaired(x), model(x)) ** 2
    assert error == pytest.approx(report.layers[-1].after, rel=1e-6, abs=1e-12)


def test_only_the_state_of_the_copy_changes() -> None:
    model = settled(Residual()).train()
    model.na.eval()
    small, plan = cut(model)
    small.head.weight.requires_grad_(False)
    before = copy.deepcopy((model.state_dict(), small.state_dict()))
    generator = torch.get_rng_state()
    repaired = repair(small, plan=plan, reference=model, images=images())
    for now, then in zip((model.state_dict(), small.state_dict()), before):
        assert all(torch.equal(now[key], then[key]) for key in then)
    assert torch.equal(torch.get_rng_state(), generator)
    assert torch.is_grad_enabled()
    for network in (model, small, repaired):
        assert network.training
        assert not network.na.training
    assert not repaired.head.weight.requires_grad
    assert repaired.stem.weight.requires_grad
    mine, theirs = repaired.state_dict(), small.state_dict()
    assert {k: v.shape for k, v in mine.items()} == {k: v.shape for k, v in theirs.items()}
    assert [type(m) for m in repaired.modules()] == [type(m) for m in small.modules()]


def test_the_same_seed_gives_the_same_network() -> None:
    model = settled(Residual())
    small, plan = cut(model)

    def state(seed: int) -> Tensor:
        settings = Settings(points=4, seed=seed)
        made = repair(small, plan=plan, reference=model, images=images(), settings=settings)
        return torch.cat([t.flatten().double() for t in made.state_dict().values()])

    assert torch.equal(state(0), state(0))
    assert not torch.equal(state(0), state(1))


def test_threads_change_only_the_rounding() -> None:
    model = settled(Residual())
    small, plan = cut(model)
    threads = torch.get_num_threads()
    outputs = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            repaired = repair(small, plan=plan, reference=model, images=images())
            torch.set_num_threads(1)
            outputs.append(repaired(images(seed=1)))
    finally:
        torch.set_num_threads(threads)
    assert distance(*outputs) < 1e-9


@pytest.mark.parametrize("name", NETS)
def test_batches_change_only_the_rounding(name: str) -> None:
    model = settled(NETS[name]())
    small, plan = cut(model)
    x = images()
    outputs = [repair(small, plan=plan, reference=model, images=x, settings=Settings(batch=b))(x) for b in (7, 20, 48)]
    assert distance(outputs[0], outputs[2]) < 1e-9
    assert distance(outputs[1], outputs[2]) < 1e-9


def test_later_layers_make_up_for_earlier_ones() -> None:
    """With drift correction a block's output is restored; without it, each branch would be by itself."""
    model = settled(Residual())
    chains, left = find_chains(trace(model, EXAMPLE), model)
    assert not left
    steps = {name: chain.steps for name, chain in chains.items()}
    assert steps == {
        "stem": (),
        "a": ("norm",),
        "b": ("norm", "add"),
        "c": ("norm",),
        "d": ("norm",),
        "project.0": ("norm", "add"),
        "head": (),
    }
    assert chains["a"].gate == (0.0, float("inf"))
    assert chains["stem"].gate == (0.0, float("inf"))
    assert chains["d"].gate is None


def test_a_stream_that_is_read_twice_ends_the_chain() -> None:
    model = settled(Preactivated())
    chains, _ = find_chains(trace(model, EXAMPLE), model)
    assert chains["b"].steps == ("add",)
    assert chains["d"].steps == ("add",), "the BatchNorm behind a sum is not a layer's own"
    assert chains["stem"].steps == ()


def test_what_cannot_be_solved_is_named_and_left() -> None:
    model = settled(Shared())
    small, plan = cut(model)
    repaired, report = repair_with_report(small, plan=plan, reference=model, images=images())
    assert report.unrepaired == {"b": "its weight is used 2 times in one pass"}
    assert torch.equal(repaired.b.weight, small.b.weight)
    assert torch.equal(repaired.norm.running_mean, small.norm.running_mean), "a BatchNorm of two layers"
    assert "b: unrepaired: its weight is used 2 times in one pass" in str(report)
    assert "head" in str(report)
    assert repr(report).startswith("RepairReport(3 layers solved, 1 unrepaired, largest error left ")


def test_arguments_of_the_wrong_kind_say_what_to_pass() -> None:
    model = settled(Residual())
    small, plan = cut(model)
    with pytest.raises(WrongKindError, match=r"repair: plan is 0\.5 \(float\); pass the plan that reconv\.choose"):
        repair(small, plan=0.5, reference=model, images=images())
    with pytest.raises(WrongKindError, match=r"repair: reference is None; pass a torch\.nn\.Module"):
        repair(small, plan=plan, reference=None, images=images())
    with pytest.raises(WrongKindError, match=r"gather_moments: graph is a Residual; pass the graph that reconv\.trace"):
        gather_moments(model, images())
    with pytest.raises(WrongKindError, match=r"error_curves: moments is a Residual; pass the moments"):
        error_curves(plan.graph, model)
    with pytest.raises(WrongKindError, match=r"dead_leaves: n is '3' \(str\)"):
        dead_leaves("3", 16)
    with pytest.raises(WrongKindError, match=r"verify: plan is a ChannelGraph; pass the plan"):
        verify(model, small, plan.graph)


def test_coupled_channels_are_repaired_too() -> None:
    model = settled(Residual())
    graph = trace(model, EXAMPLE)
    plan = choose(graph, score(graph, "l2"), Budget(macs=0.5), coupled=True)
    small = prune(model, plan)
    repaired = repair(small, plan=plan, reference=model, images=images(96), settings=MANY)
    fresh = images(64, seed=1)
    assert distance(repaired(fresh), model(fresh)) < 0.8 * distance(small(fresh), model(fresh))


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (torch.zeros(8, 3, 8, 8, dtype=torch.uint8), "give at least two normalized images"),
        (torch.zeros(1, 3, 8, 8), r"images: \(1, 3, 8, 8\) torch.float32"),
        (torch.full((4, 3, 8, 8), float("nan")), "NaN or infinity"),
        ([1, 2], "repair: images is a list; pass normalized images"),
    ],
)
def test_images_that_cannot_be_used(wrong, text: str) -> None:
    model = settled(Residual())
    small, plan = cut(model)
    with pytest.raises((DataError, WrongKindError), match=text):
        repair(small, plan=plan, reference=model, images=wrong)


def test_networks_that_the_plan_is_not_for() -> None:
    model = settled(Residual())
    small, plan = cut(model)
    with pytest.raises(GraphError, match=r"of the small network has the shape"):
        repair(model, plan=plan, reference=model, images=images())
    with pytest.raises(GraphError, match=r"of the reference has the shape"):
        repair(small, plan=plan, reference=small, images=images())


@pytest.mark.parametrize(
    ("setting", "text"), [({"points": 0}, "points=0"), ({"ridge": 0.0}, "ridge=0"), ({"gate_passes": -1}, "0 or more")]
)
def test_settings_outside_their_range(setting: dict, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Settings(**setting)
