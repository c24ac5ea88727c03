"""Trials: cut copies show where a model's code does not follow, and nothing of them is left behind."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from nets import NETS, Net, conv, head
from odd_nets import ODD
from torch import Tensor, nn

from reconv.graph import trace
from reconv.graph.build import _refine
from reconv.graph.constraints import Constraints, solve_constraints
from reconv.graph.dry_run import Failure, generic_cut, generic_cuts, run_cut_copy
from reconv.graph.refine import _leaves_a_choice
from reconv.graph.rules import rule_of
from reconv.graph.tracing import record_forward


def first_failure(name: str) -> Failure | None:
    build, shape = {**NETS, **ODD}[name]
    model, example = build(), torch.randn(shape)
    recording = record_forward(model, example, rule_of)
    graph = solve_constraints(model, recording.record, example, Constraints())
    return run_cut_copy(recording, graph, example, rule_of)


@pytest.mark.parametrize("name", ["cat", "squeeze_excite", "flattened_into_linear", "grouped", "used_twice", "windows"])
def test_a_cut_copy_does_what_was_predicted(name: str) -> None:
    assert first_failure(name) is None


@pytest.mark.parametrize(
    ("name", "said", "shape"),
    [
        ("burnt_number", "shape '[-1, 8]' is invalid", True),
        ("burnt_slice", "it gives (1, 5, 8, 8), not", True),
        ("burnt_heads", "it gives (1, 64, 3, 4, 4), not (1, 64, 3, 2, 8)", True),
        ("ScaleSplit", "", True),
    ],
)
def test_a_failure_names_the_operator(name: str, said: str, shape: bool) -> None:
    failure = first_failure(name)
    assert failure is not None
    assert said in failure.why
    assert failure.shape == shape


def test_other_channels_in_the_same_shape_are_noticed() -> None:
    """Two layers whose outputs a view of the parameters exchanges: every shape is right, no channel is."""

    def forward(m: Net, x: Tensor) -> Tensor:
        return head(m.b(torch.roll(m.a(x), 5, 1)))

    model, example = Net(forward, a=conv(3, 16), b=conv(16, 4)), torch.randn(1, 3, 8, 8)
    recording = record_forward(model, example, rule_of)
    failure = run_cut_copy(
        recording, solve_constraints(model, recording.record, example, Constraints()), example, rule_of
    )
    assert failure is not None
    assert failure.why == "other channels come out than were predicted"
    assert not failure.shape
    assert recording.record.operations[failure.operation].operator == "aten.roll"


@pytest.mark.parametrize(
    ("a", "b", "leaves"),
    [([0, 0, 1, 1], [2, 2, 3, 3], True), ([0, 0, 1, 1], [2, 3, 2, 3], False), ([0, 1], [0, 1], False)],
)
def test_a_tie_is_of_no_use_where_all_would_go_or_nothing_changes(a: list[int], b: list[int], leaves: bool) -> None:
    assert _leaves_a_choice(np.array(a), np.array(b)) == leaves


def test_every_group_loses_another_share_and_what_is_frozen_stays() -> None:
    graph = trace(ODD["attention"][0](), torch.randn(1, 3, 8, 8))
    keep = generic_cut(graph)
    for group in graph.groups:
        left = int(keep[group.units].sum())
        assert keep[group.units[~group.free]].all()
        assert (left < group.size) == (group.reason is None)
        assert left >= min(2, group.size)
    assert not np.array_equal(keep, generic_cut(graph, seed=1))


def test_cuts_tell_any_two_groups_apart_and_take_every_channel_that_counts() -> None:
    """Of small groups there are fewer shares than groups, and one cut takes the same of several."""
    model = nn.Sequential(*(nn.Conv2d(4, 4, 1) for _ in range(7)), nn.Conv2d(4, 3, 1))
    graph = trace(model, torch.randn(1, 4, 2, 2))
    free = [group for group in graph.groups if group.reason is None]
    assert len(free) == 7
    for doubted in (False, True):
        cuts = generic_cuts(graph, doubted)
        shares = {tuple(int(cut[group.units].sum()) for cut in cuts) for group in free}
        assert len(shares) == len(free)
    for group in free:
        assert not np.all([cut[group.units] for cut in cuts], axis=0).any()


@pytest.mark.parametrize("width", [2, 3, 4, 5, 16])
def test_where_positions_count_every_channel_goes_once(width: int) -> None:
    graph = trace(nn.Sequential(nn.Conv2d(3, width, 1), nn.Conv2d(width, 3, 1)), torch.randn(1, 3, 2, 2))
    cuts = generic_cuts(graph, doubted=True)
    assert len(cuts) <= 3
    assert not np.all([cut[graph.groups[0].units] for cut in cuts], axis=0).any()


def test_where_nothing_can_be_made_to_work_everything_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    from reconv.graph import build

    monkeypatch.setattr(build, "TRIALS", 2)
    monkeypatch.setattr(build, "run_cut_copy", lambda *_: Failure(0, "never right", False))
    model, example = NETS["squeeze_excite_linear"][0](), torch.randn(1, 3, 8, 8)
    graph = _refine(model, record_forward(model, example, rule_of), example)
    assert all(group.reason for group in graph.groups)


def test_pytorch_logs_no_refusal_of_a_trial(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    filters = list(logger.filters)
    with caplog.at_level(logging.ERROR):
        trace(ODD["UnequalSplit"][0](), torch.randn(1, 3, 8, 8))
    assert not caplog.records
    assert logger.filters == filters


def test_pytorchs_attention_is_traced_through_its_parts() -> None:
    """In evaluation mode PyTorch would run encoder layers by one operator that hides their channels."""
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    model = nn.Sequential(
        nn.Linear(5, 16), nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(16, 3)
    )
    graph = trace(model.eval(), torch.randn(1, 7, 5))
    free = {group.name for group in graph.groups if group.reason is None}
    assert {"1.layers.0.linear1", "1.layers.1.linear1"} <= free
