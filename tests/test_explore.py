"""`explore`: what is predicted, what is measured, and that the two are never mixed up."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import reconv
from my_net_files import write_my_net
from reconv.errors import ConfigError, UnknownNameError
from reconv.frontier import Exploration
from reconv.frontier.compute import DEFAULT
from reconv.frontier.exploration import BEYOND, frontier_table
from reconv.frontier.fit import Fit
from reconv.frontier.page import page, plot_of
from reconv.runlog import RunLog


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 5))


@pytest.fixture(scope="module")
def images() -> Tensor:
    torch.manual_seed(1)
    return torch.randn(80, 3, 6, 6)


@pytest.fixture(scope="module")
def found(net: nn.Module, images: Tensor) -> Exploration:
    return reconv.explore(net, images, measure=(0.8, 0.5), costs=("macs", "size"))


def test_the_measured_points_are_on_the_frontier(found: Exploration) -> None:
    assert [point.share for point in found.measured] == [0.8, 0.5]
    by_share = {point.share: point for point in found.frontier("macs")}
    for point in found.measured:
        assert point.low <= point.loss <= point.high
        assert by_share[point.share].error == point.error
        assert point.macs <= point.share
        assert point.value == pytest.approx(1 - point.loss)
    assert found.images == 20  # a quarter of those without labels
    assert found.quality == "identical predictions"


def test_predictions_are_monotone_and_end_where_nothing_was_measured(found: Exploration) -> None:
    points = found.frontier("size")
    losses = [point.loss for point in points if point.loss is not None]
    assert losses == sorted(losses)
    most = max(point.error for point in found.measured)
    assert all((point.loss is None) == (point.error > most * (1 + 1e-6)) for point in points)
    assert any(point.loss is None for point in points)
    assert found.measured[-1].predicted is None  # no other point is as far out
    assert found.measured[0].predicted is not None


def test_tables_say_what_is_measured(found: Exploration) -> None:
    _, header, rows = frontier_table(found, "macs")
    assert [name.rpartition(", ")[2] for name in header[-3:]] == ["predicted", "by the other points", "measured"]
    assert sum(bool(row[-1]) for row in rows) == 2
    assert any(row[-3] == BEYOND for row in rows)
    assert not any(row[-1] for row in frontier_table(found, "size")[2])
    assert "identical predictions" in str(found)


def test_groups_are_sorted_by_how_much_they_lose(found: Exploration) -> None:
    errors = [row.errors[1] for row in found.sensitivities]
    assert errors == sorted(errors, reverse=True)
    assert {row.group for row in found.sensitivities} == {"0", "2"}
    assert all(0 <= row.may_go < 1 for row in found.sensitivities)


def test_it_is_json_and_a_page_without_requests(found: Exploration) -> None:
    values = json.loads(json.dumps(found.to_json()))
    assert len(values["measured"]) == 2
    text = page(found, "<net>", {}, "reconv explore net")
    assert "&lt;net&gt;" in text
    assert text.count('<svg class="plot"') == 2
    predicted, measured, _ = plot_of(found, "macs").series
    assert predicted.hollow
    assert len(measured.points) == 2
    assert "not measured" in predicted.name


def test_points_that_are_kept_are_not_measured_again(net: nn.Module, images: Tensor, found: Exploration) -> None:
    kept: dict[str, Any] = {}
    reconv.explore(net, images, measure=(0.8,), kept=kept)
    log = RunLog()
    trained = replace(DEFAULT, after=(reconv.Repair(), reconv.Finetune(epochs=1)))
    again = reconv.explore(net, images, trained, measure=(0.8,), kept=copy.deepcopy(kept), log=log)
    assert again.notes == ("finetune is left out: an exploration looks at calibration images alone.",)
    assert len(kept) == 1
    assert not any(row.stage.startswith("measure") for row in log.rows)
    assert again.measured[0].loss == found.measured[0].loss


def test_labels_give_losses_of_top_1(net: nn.Module, images: Tensor) -> None:
    labels = torch.arange(80) % 5
    data = {"train": (images[:40], labels[:40]), "validation": (images[40:], labels[40:])}
    found = reconv.explore(net, data, measure=(0.5,))
    assert found.quality == "top-1"
    with torch.no_grad():
        top1 = float((net(images[40:]).argmax(1) == labels[40:]).float().mean())
    assert found.before == pytest.approx(top1)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda net, x: reconv.explore(net, x, measure=(50,)), ConfigError, "shares between 0 and 1"),
        (lambda net, x: reconv.explore(net, x, costs=("speed",)), UnknownNameError, "speed"),
        (lambda net, x: reconv.explore(net, x[:4]), ConfigError, "no validation images"),
    ],
)
def test_what_cannot_be_is_refused(
    net: nn.Module, images: Tensor, call: Callable[[nn.Module, Tensor], Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        call(net, images)


def test_a_fit_rises_from_zero_and_pools_what_falls() -> None:
    fit = Fit((1.0, 4.0, 9.0), (0.02, 0.01, 0.05))
    assert fit.loss(0.0) == 0
    assert fit.loss(1.0) == pytest.approx(fit.loss(4.0)) == pytest.approx(0.015)
    assert fit.loss(9.0) == pytest.approx(0.05)
    assert fit.loss(9.1) is None
    assert fit.left_out(2) is None
    assert fit.left_out(1) == pytest.approx(0.035)


def test_the_command_leaves_a_folder_and_goes_on_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from reconv.cli.app import main

    monkeypatch.chdir(tmp_path)
    write_my_net()
    words = ["explore", "my_net.py:make", "--weights", "w.pth", "--data-set", "digits", "--images", "40"]
    words += ["--measure", "0.7", "--save-path", "P"]
    assert main(words) == 0
    expected = {
        "config.json",
        "points.json",
        "explore.json",
        "explore.html",
        "frontier-macs.svg",
        "frontier-params.svg",
    }
    assert expected <= {path.name for path in Path("P").iterdir()}
    Path("P/explore.json").unlink()  # as if it had been interrupted after the last point
    assert main([*words, "--resume"]) == 0
    assert main(words) == 2  # the folder is occupied
    assert main([*words[:-1], "Q", "--measure", "2"]) == 2
