"""Where models come from: libraries, saved folders, a user's own source; and the images that they were made for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import reconv
from reconv.errors import ArtifactError, ConfigError, ReconvError
from reconv.provenance import ModelSpec, provenance_of
from reconv.zoo import ModelSource, libraries, load_model, model_names, own_input_size


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("torchvision:resnet18", (3, 224, 224)),
        ("torchvision:inception_v3", (3, 299, 299)),
        ("timm:mobilevit_xxs", (3, 256, 256)),
        ("resnet20", None),
    ],
)
def test_sizes_that_authors_give(name: str, size: tuple[int, int, int] | None) -> None:
    assert own_input_size(load_model(name)) == size


def test_of_other_classes_and_channels() -> None:
    assert own_input_size(load_model("timm:resnet10t", num_classes=10)) is None
    assert own_input_size(load_model("timm:resnet10t", in_chans=1)) == (1, 176, 176)


def test_a_vision_transformer_takes_its_own_size_only() -> None:
    assert own_input_size(load_model("torchvision:vit_b_16", image_size=64)) == (3, 64, 64)


class Stem(nn.Module):
    """A network of somebody else's."""

    def __init__(self, width: int = 4, num_classes: int = 10) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(x).mean((2, 3)))


@pytest.fixture
def _mine(own_registries: None) -> None:
    """A source of one's own."""
    reconv.register(ModelSource("mine", "of one's own", lambda name, given: Stem(**given), lambda: ["Stem"]))


@pytest.mark.usefixtures("_mine")
def test_a_users_models_are_built_saved_and_loaded_as_ours_are(tmp_path: Path) -> None:
    model = load_model("Mine:Stem", width=6, num_classes=5)
    assert isinstance(model, Stem)
    assert provenance_of(model).spec == ModelSpec("mine:Stem", {"width": 6, "num_classes": 5})
    assert "Stem" in model_names("mine")
    x = torch.rand(2, 3, 8, 8)
    assert torch.equal(model(x), model.eval()(x))
    plan = reconv.choose(reconv.trace(model, x), reconv.score(reconv.trace(model, x), "l1"), reconv.Budget(macs=0.6))
    small = reconv.prune(model, plan)
    reconv.save(small, tmp_path / "small")
    assert torch.equal(reconv.load(tmp_path / "small")(x), small(x))
    assert torch.equal(load_model(str(tmp_path / "small"))(x), small(x))


def test_the_folder_of_a_saved_model_or_a_run_is_a_models_name(tmp_path: Path) -> None:
    model = load_model("resnet20")
    reconv.save(model, tmp_path / "run" / "model")
    for folder in (tmp_path / "run", tmp_path / "run" / "model"):
        again = load_model(str(folder))
        assert torch.equal(again.conv1.weight, model.conv1.weight)
    with pytest.raises(ConfigError, match="a saved model brings its weights; leave weights and arguments out"):
        load_model(str(tmp_path / "run"), pretrained=True)
    with pytest.raises(ArtifactError, match="not a saved model"):
        load_model(str(tmp_path / "nothing"))


def test_a_name_of_the_wrong_kind_is_refused() -> None:
    with pytest.raises(ReconvError, match='pass a name such as "resnet56", or the folder of'):
        load_model(nn.Identity())  # type: ignore[arg-type]


def test_without_a_library_its_names_are_unknown_and_its_models_say_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(
        ConfigError, match=r"models of timm: needs timm, which is not installed; pip install 'reconv\[all\]'"
    ):
        libraries._build_timm("resnet10t", {})
