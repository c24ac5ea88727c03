"""Two networks side by side: the same images, both directions, a table of layers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from reconv.cli.app import main
from reconv.runs import load_facts
from reconv.study import Network
from reconv.zoo import load_model

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconv.results.measure.LATENCY_SECONDS", 0.05)


@pytest.fixture(scope="module")
def run(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "one"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reconv.results.measure.LATENCY_SECONDS", 0.05)
        arguments = ["run", "--model", "resnet20", "--weights", str(network.weights), "--shortcut", "stride"]
        assert main([*arguments, "--data-set", "digits", "--epochs", "1", "-o", str(folder)]) == 0
    return folder


def test_a_run_against_its_base(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["compare", str(run / "base"), str(run), "--json", str(tmp_path / "c.json")]) == 0
    out = capsys.readouterr().out
    for text in ("McNemar", "top-1", "MACs", "latency, batch 1", "Layer by layer", "layer1.0.conv1"):
        assert text in out
    result = json.loads((tmp_path / "c.json").read_text())
    metrics = json.loads((run / "metrics.json").read_text())
    for side, name in (("a", "before"), ("b", "after")):
        assert result[side]["accuracy"] == metrics[name]["accuracy"]
        assert result[side]["macs"] == metrics[name]["macs"]
        assert result[side]["parameters"] == metrics[name]["parameters"]
    difference = metrics["after"]["accuracy"] - metrics["before"]["accuracy"]
    assert result["difference"]["value"] == pytest.approx(difference)
    assert result["only_b"] - result["only_a"] == round(difference * result["images"])
    layers = {row["name"]: row for row in result["layers"]}
    assert layers["layer1.0.conv1"]["channels"][1] < layers["layer1.0.conv1"]["channels"][0]
    assert all(second > 0 for row in result["layers"] for second in row["seconds"])


def test_a_network_against_itself(network: Network, tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "vgg.safetensors"
    save_file(load_model("resnet20", in_channels=1).state_dict(), path)
    name = f"resnet20={path}"
    assert (
        main(["compare", name, name, "-d", "digits", "--split", "validation", "--json", str(tmp_path / "c.json")]) == 0
    )
    result = json.loads((tmp_path / "c.json").read_text())
    assert result["p_value"] == 1
    assert (result["difference"]["low"], result["difference"]["high"]) == (0, 0)


def test_a_report_made_again_is_the_same(run: Path, tmp_path: Path) -> None:
    assert main(["report", str(run), "-o", str(tmp_path / "again.html")]) == 0
    assert (tmp_path / "again.html").read_text() == (run / "report.html").read_text()


def test_a_report_tells_things_in_this_order(run: Path) -> None:
    page = (run / "report.html").read_text()
    titles = [
        "Result",
        "Use it",
        "Settings",
        "The network, layer by layer",
        "Unpruned layers, and why",
        "Training",
        "Latency",
        "Predictions that changed",
        "How to reproduce",
    ]
    positions = [page.index(f"<h2>{title}</h2>") for title in titles]
    assert positions == sorted(positions)
    assert page.count("data:image/png;base64,") == 10
    assert len(page.encode()) < 2_000_000


def test_confusions_count_every_image(run: Path) -> None:
    result = load_facts(run).tested
    assert result is not None
    assert sum(pair.before for pair in result.confusions) == result.images == 360
    assert sum(pair.after for pair in result.confusions) == result.images
    right = sum(pair.after for pair in result.confusions if pair.truth == pair.answer)
    assert right / result.images == pytest.approx(load_facts(run).after.accuracy)
    assert [image.distance for image in result.changed] == sorted((x.distance for x in result.changed), reverse=True)


def test_a_run_among_a_studys_points(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = str(run / "base")
    arguments = [
        "study",
        "--model",
        base,
        "--data-set",
        "digits",
        "-c",
        "l1",
        "-b",
        "macs=0.5",
        "-o",
        str(tmp_path / "s"),
    ]
    assert main(arguments) == 0
    assert main(["report", str(run), "--study", str(tmp_path / "s"), "-o", str(tmp_path / "r.html")]) == 0
    assert "the criterion with the highest accuracy" in (tmp_path / "r.html").read_text()
    assert main(["report", str(tmp_path / "s"), "--study", str(tmp_path / "s")]) == 2
