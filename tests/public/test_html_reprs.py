"""What a notebook shows of a value: one table, escaped, at most thirty rows open."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest
import torch

import reconv
from reconv.html_table import SHOWN, html_table
from reconv.refit.report import LayerRepair, RepairReport
from reconv.training.loop import Trained
from reconv.training.records import EpochRecord


class Rows(HTMLParser):
    """Counts the rows outside of what is folded, and checks that tags are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows = 0

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.rows += tag == "tr" and "details" not in self.open
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    graph = reconv.trace(reconv.load_model("resnet56"), torch.zeros(1, 3, 32, 32))
    scores = reconv.score(graph, "l1")
    moments = reconv.gather_moments(graph, torch.randn(8, 3, 32, 32))
    epoch = EpochRecord(1, 10, 0.5, 0.9, 0.01, 3.0, 100.0, None)
    return {
        "graph": graph,
        "scores": scores,
        "plan": reconv.choose(graph, scores, reconv.Budget(macs=0.5)),
        "curves": reconv.curves_of(graph, scores, moments),
        "repair": RepairReport((LayerRepair("conv1", 0.5, 0.01, 100),), {"fc": "it is used twice"}),
        "training": Trained(graph.model, (epoch,)),
    }


@pytest.mark.parametrize("name", ["graph", "scores", "plan", "curves", "repair", "training"])
def test_it_is_a_table(values: dict[str, Any], name: str) -> None:
    rows = Rows()
    rows.feed(values[name]._repr_html_())
    assert not rows.open
    assert 2 <= rows.rows <= SHOWN + 1


def test_every_layer_is_there_though_folded(values: dict[str, Any]) -> None:
    shown = values["scores"]._repr_html_()
    assert all(f">{layer}<" in shown for layer in values["scores"].values)
    assert f"{len(values['scores'].values) - SHOWN} more" in shown


def test_text_is_escaped() -> None:
    shown = html_table("<b>", ("<i>",), [("<script>",)], ["<img>"])
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert "&lt;img&gt;" in shown
