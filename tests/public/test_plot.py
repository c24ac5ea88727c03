"""Pictures of scores, plans and curves show the values that they are given."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import reconv
from reconv.errors import UnknownNameError, WrongKindError
from reconv.frontier.exploration import Exploration, FrontierPoint, MeasuredPoint

pytest.importorskip("matplotlib").use("Agg")
from reconv import plot  # noqa: E402  (after the backend is chosen)

NET = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3))
GRAPH = reconv.trace(NET, torch.zeros(1, 3, 8, 8))
SCORES = reconv.score(GRAPH, "l1")
PLAN = reconv.choose(GRAPH, SCORES, reconv.Budget(macs=0.5))


def test_scores_are_sorted_and_those_that_go_are_marked() -> None:
    ax = plot.scores(SCORES, PLAN)
    heights = [bar.get_height() for bar in ax.patches]
    assert heights == sorted(SCORES.values["0"].tolist(), reverse=True)
    colors = [bar.get_facecolor() for bar in ax.patches]
    kept = len(PLAN.groups[0].kept)
    assert len(set(colors[:kept])) == len(set(colors[kept:])) == 1
    assert colors[0] != colors[-1]


def test_widths_are_the_plan_s() -> None:
    bars = plot.widths(PLAN).patches
    count = len(PLAN.groups)
    assert [bar.get_width() for bar in bars[:count]] == [row.size for row in PLAN.groups]
    assert [bar.get_width() for bar in bars[count:]] == [len(row.kept) for row in PLAN.groups]


def test_curves_are_drawn_from_the_first_removal() -> None:
    curve = reconv.Curve(order=np.array([2, 0, 1]), errors=np.array([0.0, 0.1, 0.4, 1.0]))
    (line,) = plot.curves(reconv.ErrorCurves("mine", {"conv1": curve})).lines
    assert line.get_ydata().tolist() == [0.1, 0.4, 1.0]


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(UnknownNameError):
        plot.scores(SCORES, layer="conv9")
    with pytest.raises(WrongKindError):
        plot.widths(SCORES)  # type: ignore[arg-type]


def test_a_frontier_tells_predicted_from_measured() -> None:
    first = FrontierPoint(0.8, (100.0, 80.0), 0.8, 0.8, 1.0, 0.01)
    beyond = FrontierPoint(0.2, (100.0, 20.0), 0.2, 0.2, 9.0, None)
    measured = MeasuredPoint(0.8, 0.8, 0.8, 1.0, 0.01, 0.0, 0.03, 0.9)
    found = Exploration("top-1", 0.91, 50, 100, {"macs": (first, beyond)}, (measured,), (), {})
    ax = plot.frontier(found)
    predicted = ax.lines[0]
    assert predicted.get_linestyle() == "--"
    assert predicted.get_xydata().tolist() == [[80.0, 1.0]]  # nothing is predicted beyond what was measured
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["predicted", "measured, 95 %"]
