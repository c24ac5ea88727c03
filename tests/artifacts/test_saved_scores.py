"""Scores come back with everything that was known of them, or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from reconv.artifacts import load_saliency, save_saliency
from reconv.errors import ArtifactError
from reconv.files import read_metadata, read_tensors, write_tensors
from reconv.graph import trace
from reconv.saliency import Saliency, score
from reconv.zoo import load_model


@pytest.fixture(scope="module")
def saliency() -> Saliency:
    model = load_model("resnet20", widths=(2, 3, 4))
    return score(trace(model, torch.zeros(1, 3, 8, 8)), "nuclear")


def test_scores_come_back(saliency: Saliency, tmp_path: Path) -> None:
    path = tmp_path / "scores.safetensors"
    save_saliency(saliency, path)
    found = load_saliency(path)
    assert list(found.values) == list(saliency.values)
    for mine, other in ((saliency.values, found.values), (saliency.errors, found.errors)):
        assert mine.keys() == other.keys()
        assert all(torch.equal(mine[name], other[name]) for name in mine)
    assert found.algorithms == saliency.algorithms
    assert (found.criterion, found.direction) == ("nuclear", "forward")
    assert found.weights == saliency.weights != ""


def header(path: Path) -> dict[str, Any]:
    return dict(json.loads(read_metadata(path)["reconv_scores"]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "format 2, written by a newer reconv"),
        ({"kind": "model"}, "not a scores"),
        ({"fingerprint": "0"}, "fingerprints differ"),
        ({"layers": ["nowhere"]}, "lacks 'values/nowhere'"),
        ({"algorithms": 3}, "lacks"),
        (None, "not a scores"),
    ],
)
def test_what_is_no_score_is_refused(
    change: dict[str, Any] | None, said: str, saliency: Saliency, tmp_path: Path
) -> None:
    path = tmp_path / "scores.safetensors"
    save_saliency(saliency, path)
    metadata = {"reconv_scores": json.dumps({**header(path), **change})} if change is not None else {}
    write_tensors(path, read_tensors(path), metadata)
    with pytest.raises(ArtifactError, match=said):
        load_saliency(path)


def test_changed_and_truncated_values_are_refused(saliency: Saliency, tmp_path: Path) -> None:
    path = tmp_path / "scores.safetensors"
    save_saliency(saliency, path)
    content = path.read_bytes()
    path.write_bytes(content[:-8] + bytes(8))
    with pytest.raises(ArtifactError, match="fingerprints differ"):
        load_saliency(path)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ArtifactError, match="not a complete safetensors file"):
        load_saliency(path)
