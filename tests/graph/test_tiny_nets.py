"""Networks that each hold one difficulty: cut right where they can be, left alone with a reason where not."""

from __future__ import annotations

import copy

import pytest
import torch
from laws import CUTS, check_cut, check_network, planned, randomized
from nets import NETS, Net, conv, head
from torch import Tensor, nn
from torch.nn import functional as F

from reconv.errors import GraphError
from reconv.graph import trace
from reconv.graph.rules import OPERATORS, register_rule
from reconv.surgery import prune, verify

# network -> its groups but the last: (name, channels, layers that bear them, what is said of it)
EXPECTED: dict[str, tuple[tuple[str, int, int, str], ...]] = {
    "cat": (("a", 6, 1, "free"), ("b", 10, 1, "free")),
    "grouped": (("a", 16, 1, "free"), ("b", 24, 1, "free")),
    "depthwise_multiplier": (("a", 8, 2, "free"),),
    "residual_around_a_depthwise_pair": (("a", 12, 3, "residual stream"),),
    "transposed": (("a", 8, 1, "free"), ("b", 12, 1, "free")),
    "squeeze_excite": (("a", 16, 2, "free"), ("down", 4, 1, "free")),
    "squeeze_excite_linear": (("a", 16, 2, "free"), ("down", 4, 1, "free")),
    "flattened_into_linear": (("a", 6, 1, "free"), ("fc", 20, 1, "free")),
    "layer_norms": (("a", 12, 2, "residual stream"), ("up", 24, 1, "free")),
    "TiedWeights": (("a", 8, 2, "free"),),
    "used_twice": (("a", 8, 2, "free"),),
    "several_outputs": (("a", 8, 1, "free"), ("b", 4, 1, "network output")),
    "fixed_tensor_meets_channels": (("a", 8, 1, "combined with a tensor of fixed size (add at nets.py:"),),
    "unfollowed_operator": (("a", 8, 1, "aten.renorm is not followed (renorm at nets.py:"),),
    "repeated_channels": (("a", 8, 1, "free"),),
}


@pytest.mark.parametrize("name", NETS)
def test_every_cut_is_right(name: str) -> None:
    build, shape = NETS[name]
    graph = check_network(build, torch.randn(shape), CUTS[:1] + CUTS[-1:])
    expected = EXPECTED.get(name, ())
    for group, (first, size, layers, said) in zip(graph.groups, expected, strict=False):
        assert (group.name, group.size, len(group.producers)) == (first, size, layers)
        assert said in str(graph).splitlines()[1 + graph.groups.index(group)]
    if expected:
        assert len(graph.groups) == len(expected) + 1


@pytest.mark.parametrize("name", ["grouped", "group_norm"])
def test_groups_lose_equally_many(name: str) -> None:
    build, shape = NETS[name]
    graph = trace(build(), torch.randn(shape))
    group = graph.groups[0]
    plan = planned(graph, CUTS[0])
    kept = set(plan.groups[0].kept)
    counts = {len(kept & set(range(4 * i, 4 * i + 4))) for i in range(4)}
    assert counts == {3}
    assert group.size == 16


def test_what_a_grouped_convolution_keeps_may_differ_from_group_to_group() -> None:
    build, shape = NETS["grouped"]
    model = randomized(build())
    plan = planned(trace(model, torch.randn(shape)), CUTS[2])
    kept = plan.groups[0].kept
    rows = {tuple(k - 4 * i for k in kept if 4 * i <= k < 4 * i + 4) for i in range(4)}
    assert len(rows) > 1
    small = check_cut(plan, torch.randn(shape))
    assert small.get_submodule("b").groups == 4


def model_and_graph(dtype: torch.dtype = torch.float32) -> tuple[nn.Module, Tensor]:
    build, shape = NETS["squeeze_excite"]
    return build().to(dtype), torch.randn(shape, dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_precision_comes_from_the_model(dtype: torch.dtype) -> None:
    model, example = model_and_graph(dtype)
    plan = planned(trace(model, example), CUTS[0])
    small = prune(model, plan)
    assert {p.dtype for p in small.parameters()} == {dtype}
    assert verify(model, small, plan) < 1e-10


def test_memory_format_and_flags_stay() -> None:
    model, example = model_and_graph()
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.get_parameter("a.weight").requires_grad_(False)
    model.get_submodule("down").eval()
    small = prune(model, planned(trace(model, example), CUTS[0]))
    assert small.get_parameter("end.weight").shape[1] < model.get_parameter("end.weight").shape[1]
    assert small.get_parameter("end.weight").is_contiguous(memory_format=torch.channels_last)
    assert not small.get_parameter("a.weight").requires_grad
    assert small.get_parameter("end.weight").requires_grad
    assert small.training
    assert not small.get_submodule("down").training


def test_tied_weights_stay_tied() -> None:
    build, shape = NETS["TiedWeights"]
    model = build()
    small = prune(model, planned(trace(model, torch.randn(shape)), CUTS[0]))
    assert small.get_submodule("b").weight is small.get_submodule("c").weight


def test_nothing_of_the_caller_changes() -> None:
    model, example = model_and_graph()
    model.add_module("norm", nn.BatchNorm2d(4))
    before = copy.deepcopy(model.state_dict())
    modes = [m.training for m in model.modules()]
    state, threads, dtype = torch.get_rng_state(), torch.get_num_threads(), torch.get_default_dtype()
    graph = trace(model, example)
    small = prune(model, planned(graph, CUTS[0]))
    verify(model, small, planned(graph, CUTS[0]))
    assert torch.equal(torch.get_rng_state(), state)
    assert (torch.get_num_threads(), torch.get_default_dtype()) == (threads, dtype)
    assert torch.is_grad_enabled()
    assert modes == [m.training for m in model.modules()]
    after = model.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_a_model_on_the_meta_device_is_traced_and_cut_but_not_proven() -> None:
    with torch.device("meta"):
        model = NETS["grouped"][0]()
    graph = trace(model, torch.randn(1, 3, 8, 8, device="meta"))
    plan = planned(trace(NETS["grouped"][0](), torch.randn(1, 3, 8, 8)), CUTS[0])
    assert [(g.name, g.size) for g in graph.groups] == [(g.name, g.size) for g in plan.graph.groups]
    small = prune(model, plan)
    assert small.get_parameter("a.weight").shape[0] == 12
    with pytest.raises(GraphError, match="on the meta device there is nothing to compute"):
        verify(model, small, plan)


@pytest.mark.parametrize("kind", ["tuple", "mapping"])
def test_examples_of_several_tensors(kind: str) -> None:
    def forward(m: Net, x: Tensor, y: Tensor) -> Tensor:
        return head(m.c(torch.cat([m.a(x), m.b(y)], 1)))

    model = Net(forward, a=conv(3, 8), b=conv(2, 6), c=conv(14, 4))
    x, y = torch.randn(1, 3, 8, 8), torch.randn(1, 2, 8, 8)
    example = (x, y) if kind == "tuple" else {"y": y, "x": x}
    graph = trace(model, example)
    assert [g.size for g in graph.groups] == [8, 6, 4]
    check_cut(planned(graph, CUTS[0]), example)


def test_whole_numbers_of_the_example_stay_what_they_are() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.up, self.end = nn.Embedding(20, 12), nn.Linear(12, 16), nn.Linear(16, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.end(F.relu(self.up(self.table(x))).mean(1))

    model, example = Tokens(), torch.randint(0, 20, (1, 5))
    check_cut(planned(trace(model, example), CUTS[0]), example)


def test_a_norm_without_parameters_follows_its_input() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        return m.b(m.norm(m.a(x.mean((2, 3)))))

    model = Net(forward, a=nn.Linear(3, 16), norm=nn.LayerNorm(16, elementwise_affine=False), b=nn.Linear(16, 4))
    example = torch.randn(1, 3, 8, 8)
    graph = trace(model, example)
    small = prune(model, planned(graph, CUTS[0]))
    assert small(example).shape == (1, 4)
    assert small.get_submodule("norm").normalized_shape == (11,)


def test_a_layer_that_only_training_uses_is_cut_with_what_it_reads() -> None:
    def forward(m: Net, x: Tensor) -> object:
        y = F.relu(m.a(x))
        return (head(m.b(y)), head(m.auxiliary(y))) if m.training else head(m.b(y))

    model = Net(forward, a=conv(3, 8), b=conv(8, 4), auxiliary=conv(8, 4))
    example = torch.randn(1, 3, 8, 8)
    small = check_cut(planned(trace(model, example), CUTS[0]), example)
    assert small.get_submodule("auxiliary").in_channels == small.get_submodule("a").out_channels < 8


def test_what_never_runs_is_left_alone() -> None:
    model = Net(lambda m, x: head(m.b(m.a(x))), a=conv(3, 8), b=conv(8, 4), idle=conv(8, 4))
    small = check_cut(planned(trace(model, torch.randn(1, 3, 8, 8)), CUTS[0]), torch.randn(1, 3, 8, 8), train=False)
    assert small.get_parameter("idle.weight").shape == (4, 8, 3, 3)


def test_a_rule_of_the_users_own() -> None:
    build, shape = NETS["unfollowed_operator"]
    model = build()
    register_rule("aten.renorm", OPERATORS["aten.clone"].rule)
    try:
        graph = trace(model, torch.randn(shape))
    finally:
        del OPERATORS["aten.renorm"]
    assert graph.groups[0].reason is None


@pytest.mark.parametrize(
    ("example", "said"),
    [
        (torch.randn(1, 4, 8, 8), "does not run on the example it was given .*expected input.* to have 3 channels"),
        ("image", "the example is str without a tensor; give an input"),
        ((torch.randn(1, 3, 8, 8), 2.0), "does not run on the example"),
    ],
)
def test_an_example_that_does_not_fit(example: object, said: str) -> None:
    with pytest.raises(GraphError, match=said):
        trace(NETS["cat"][0](), example)


def test_an_example_that_does_not_fit_behind_a_look_at_values() -> None:
    def forward(m: Net, x: torch.Tensor) -> torch.Tensor:
        x = m.a(x)
        if x.sum() > 1e9:
            return x
        return x.reshape(-1, 12345)

    with pytest.raises(GraphError, match=r"does not run on the example it was given .*12345"):
        trace(Net(forward, a=conv(3, 8)), torch.randn(1, 3, 8, 8))


def test_nothing_to_prune() -> None:
    with pytest.raises(GraphError, match="runs no convolution and no linear layer; there is nothing to prune"):
        trace(nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)), torch.randn(1, 3, 8, 8))


def test_a_plan_for_another_architecture() -> None:
    plan = planned(trace(NETS["cat"][0](), torch.randn(1, 3, 8, 8)), CUTS[0])
    with pytest.raises(GraphError, match=r"a\.weight: the plan is for the shape \(6, 3, 3, 3\), the model has \(8, 3"):
        prune(NETS["LayerScale"][0](), plan)
