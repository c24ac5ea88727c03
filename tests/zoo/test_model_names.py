"""Models are found by name, built from a specification, and never downloaded or drawn behind the caller's back."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from reconv.errors import ArtifactError, ConfigError, UnknownNameError
from reconv.provenance import ModelSpec, provenance_of
from reconv.zoo import build_model, build_skeleton, canonical_name, load_model, model_names


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("the network was asked")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("urllib.request.urlopen", refuse)


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("resnet56", "resnet56"),
        ("ResNet-56", "resnet56"),
        ("vgg16_bn", "vgg16_bn"),
        ("reconv:vgg16_bn", "vgg16_bn"),
        ("torchvision:vgg16_bn", "torchvision:vgg16_bn"),
        ("resnet34", "torchvision:resnet34"),
        ("TIMM:resnet34", "timm:resnet34"),
        ("resnet26d", "timm:resnet26d"),
        ("timm:resnet50.a1_in1k", "timm:resnet50.a1_in1k"),
    ],
)
def test_a_bare_name_is_ours_then_torchvisions_then_timms(written: str, canonical: str) -> None:
    assert canonical_name(written) == canonical


@pytest.mark.parametrize(
    ("written", "offered"),
    [
        ("resnt56", "did you mean resnet56"),
        ("torchvision:resnet5O", "did you mean resnet50"),
        ("torchvison:resnet50", "did you mean torchvision"),
        ("keras:someone/something", "known: file, hf, hf-hub, hub, local-dir, module"),
    ],
)
def test_an_unknown_name_gets_the_nearest(written: str, offered: str) -> None:
    with pytest.raises(UnknownNameError, match=offered):
        load_model(written)


def test_names_are_listed_by_source() -> None:
    assert model_names("reconv") == ("resnet110", "resnet20", "resnet32", "resnet44", "resnet56", "vgg16_bn")
    assert set(model_names("reconv")) | {"resnet34", "resnet26d"} <= set(model_names())
    with pytest.raises(UnknownNameError, match="source of models"):
        model_names("keras")


@pytest.mark.parametrize("name", ["resnet20", "torchvision:resnet18", "timm:resnet18"])
def test_a_model_is_in_evaluation_mode_and_knows_its_specification(name: str) -> None:
    model = load_model(name, num_classes=7)
    assert not any(module.training for module in model.modules())
    spec = provenance_of(model).spec
    assert spec == ModelSpec(name, {"num_classes": 7})
    again = build_model(spec)
    assert {n: t.shape for n, t in again.state_dict().items()} == {n: t.shape for n, t in model.state_dict().items()}
    assert provenance_of(copy.deepcopy(model)).spec == spec


def test_the_callers_seed_decides_random_weights() -> None:
    def build() -> nn.Module:
        torch.manual_seed(5)
        return load_model("resnet20")

    first, second = build(), load_model("resnet20")
    assert torch.equal(first.conv1.weight, build().conv1.weight)
    assert not torch.equal(first.conv1.weight, second.conv1.weight)


@pytest.mark.parametrize("name", ["resnet20", "torchvision:regnet_y_400mf"], ids=["on meta", "built for real"])
def test_a_skeleton_consumes_no_random_number(name: str) -> None:
    before = torch.random.get_rng_state()
    build_skeleton(ModelSpec(name))
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_skeleton_holds_no_data_unless_the_state_would_not_hold_it() -> None:
    assert all(parameter.is_meta for parameter in build_skeleton(ModelSpec("resnet20")).parameters())
    swin = build_skeleton(ModelSpec("timm:swin_tiny_patch4_window7_224"))
    assert not any(buffer.is_meta for buffer in swin.buffers())


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("resnet20", {"colour": "red"}, "resnet20: cannot be built with .*colour"),
        ("torchvision:resnet18", {"colour": "red"}, "colour"),
        ("timm:resnet18", {"colour": "red"}, "colour"),
        ("resnet20", {"num_classes": 0}, "num_classes is 0"),
        ("resnet20", {"num_classes": "ten"}, "num_classes is 'ten'"),
        ("timm:resnet18", {"checkpoint_path": "x.pth"}, "checkpoint_path would load weights"),
        ("timm:resnet18", {"pretrained": True}, "pretrained would load weights"),
        ("torchvision:resnet18", {"weights": "DEFAULT"}, "weights would load weights"),
    ],
)
def test_arguments_that_cannot_be_are_refused(name: str, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build_model(ModelSpec(name, arguments))


def test_an_argument_that_no_file_can_hold_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be saved"):
        load_model("torchvision:resnet18", norm_layer=nn.BatchNorm2d)


@pytest.mark.parametrize("name", ["torchvision:resnet18", "timm:resnet18"])
def test_published_weights_without_a_network_say_what_to_do(
    name: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setattr("timm.models.load_pretrained", _offline, raising=False)
    monkeypatch.setattr("timm.models._builder.load_pretrained", _offline)
    with pytest.raises(ArtifactError, match=r"published weights cannot be loaded .*give weights=FILE"):
        load_model(name, pretrained=True)


def _offline(*_: object, **__: object) -> None:
    raise OSError("the network was asked")


def test_published_weights_of_torchvision_are_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision

    published = build_model(ModelSpec("torchvision:resnet18"))
    asked: dict[str, Any] = {}

    def state_dict(_: object, **options: Any) -> dict[str, torch.Tensor]:
        asked.update(options)
        return published.state_dict()

    monkeypatch.setattr(torchvision.models.ResNet18_Weights, "get_state_dict", state_dict)
    model = load_model("resnet18", pretrained=True)
    assert torch.equal(model.fc.weight, published.fc.weight)
    assert asked["weights_only"] is True
    assert provenance_of(model).normalization is not None


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda: load_model("resnet20", pretrained=True), "no weights are published"),
        (lambda: load_model("resnet18", pretrained=True, weights="f.pth"), "give one of them"),
    ],
)
def test_weights_that_exclude_each_other_are_refused(act: Callable[[], nn.Module], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        act()
