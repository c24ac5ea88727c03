"""`benchmarks/collect_scores.py`: what it packs is what a network is pruned by, and only by its own weights unasked."""

from __future__ import annotations

import json
import runpy
import zipfile
from pathlib import Path

import torch

from reconv import load_model, score, trace
from reconv.artifacts import load_saliency
from reconv.files import tensors_fingerprint
from reconv.select import read_scores

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "collect_scores.py"


def test_collected_scores_are_the_network_s(weights: Path, tmp_path: Path) -> None:
    runpy.run_path(str(SCRIPT))["main"](
        [f"resnet20={weights}", "--data-set", "digits", "--out", str(tmp_path / "s.zip")]
    )
    with zipfile.ZipFile(tmp_path / "s.zip") as archive:
        index = json.loads(archive.read("index.json"))["scores"]
        archive.extractall(tmp_path)
    assert [entry["criterion"] for entry in index] == ["spectral", "nuclear", "frobenius"]
    model = load_model("resnet20", in_channels=1, weights=weights)
    graph = trace(model, torch.zeros(1, 1, 8, 8))
    for entry in index:
        scores = load_saliency(tmp_path / entry["file"])
        assert scores.weights == entry["weights"] == tensors_fingerprint(model.state_dict())
        ours = score(graph, entry["criterion"]).values
        assert entry["channels"] == sum(map(len, ours.values()))
        for name, values in read_scores(tmp_path / entry["file"], model).values.items():
            torch.testing.assert_close(values, ours[name], rtol=1e-5, atol=0)
