"""What a network of timm says of the widths of its features follows a cut, and is saved with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from reconv.artifacts import load, save
from reconv.errors import ArtifactError
from reconv.graph import trace
from reconv.plan import Budget, choose
from reconv.saliency import score
from reconv.surgery import prune
from reconv.zoo import load_model

X = torch.zeros(1, 3, 64, 64)


def half(model: nn.Module, example: torch.Tensor = X) -> nn.Module:
    graph = trace(model, example)
    return prune(model, choose(graph, score(graph, "l2"), Budget(channels=0.5), coupled=True))


def widths(model: nn.Module) -> list[int]:
    stages = [stage["num_chs"] for stage in model.feature_info]
    return [model.num_features, model.head_hidden_size, *stages]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "mobilenetv3_small_050"])
def test_a_pruned_network_of_timm_takes_a_new_head(name: str, tmp_path: Path) -> None:
    pytest.importorskip("timm")
    network = load_model(f"timm:{name}", num_classes=10)
    small = half(network)
    assert all(b < a for a, b in zip(widths(network), widths(small), strict=True))
    save(small, tmp_path / "small")
    back = load(tmp_path / "small")
    assert widths(back) == widths(small)
    for model in (small, back):
        model.reset_classifier(7)
        assert model(X).shape == (1, 7)
    assert widths(load_model(f"timm:{name}", num_classes=10)) == widths(network)  # nothing is shared


class Backbone(nn.Module):
    """By timm's convention, with as many classes as features."""

    def __init__(self) -> None:
        super().__init__()
        self.num_features = self.embed_dim = 8
        self.feature_info = [{"num_chs": 6, "module": "stem"}, {"num_chs": 8, "module": "body"}, {"num_chs": 8}, 3]
        self.stem, self.body, self.fc = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 8, 1), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.body(self.stem(x).relu()).relu().mean((2, 3))) * self.embed_dim

    def reset_classifier(self, classes: int) -> None:
        self.fc = nn.Linear(self.num_features, classes)


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.out = Backbone(), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.backbone(x))


def test_features_are_those_before_the_classes_and_what_a_forward_reads_is_left_alone() -> None:
    small = half(Backbone())
    width = small.body.out_channels
    assert (small.num_features, small.fc.in_features, small.embed_dim) == (width, width, 8)
    assert width < 8
    assert small.feature_info == [
        {"num_chs": small.stem.out_channels, "module": "stem"},
        {"num_chs": width, "module": "body"},
        {"num_chs": 8},
        3,
    ]


def test_a_backbone_inside_of_a_network_follows_too(tmp_path: Path) -> None:
    small = half(Decoder())
    backbone = small.backbone
    assert isinstance(backbone, Backbone)
    assert backbone.num_features == backbone.fc.in_features < 8
    save(small, tmp_path / "small")
    back = load(tmp_path / "small", model=Decoder())
    assert back.backbone.feature_info == backbone.feature_info


@pytest.mark.parametrize(
    "entry",
    ["feature_info.0.module", "feature_info.9.num_chs", "feature_info.-1", "feature_info", "a.b", ".", "fc.bias"],
)
def test_only_numbers_that_are_there_are_edited(entry: str, tmp_path: Path) -> None:
    save(half(Backbone()), tmp_path / "small")
    file = tmp_path / "small" / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["edits"][""][entry] = 3
    file.write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="which is no size of a layer"):
        load(tmp_path / "small", model=Backbone())
