"""What a notebook prints of a value fits the screen."""

from __future__ import annotations

import pytest
import torch

import reconv
from reconv.text import WIDTH


@pytest.fixture(scope="module")
def values() -> dict[str, object]:
    graph = reconv.trace(reconv.load_model("resnet56"), torch.zeros(1, 3, 32, 32))
    scores = reconv.score(graph, "l1")
    plan = reconv.choose(graph, scores, reconv.Budget(macs=0.5))
    moments = reconv.gather_moments(graph, torch.randn(8, 3, 32, 32))
    values = {"graph": graph, "group": graph.groups[0], "layer": graph.layers[0], "scores": scores, "plan": plan}
    return values | {"profile": reconv.profile(graph), "moments": moments["layer1.0.conv2"]}


@pytest.mark.parametrize("name", ["graph", "group", "layer", "scores", "plan", "profile", "moments"])
def test_it_fits_twenty_lines(values: dict[str, object], name: str) -> None:
    lines = repr(values[name]).splitlines()
    assert 1 <= len(lines) <= 20
    assert max(map(len, lines)) <= WIDTH


def test_what_is_left_out_is_counted(values: dict[str, object]) -> None:
    shown = repr(values["graph"]).splitlines()
    assert shown[-1] == f"... and {len(str(values['graph']).splitlines()) - len(shown) + 1} more"
