"""The sources of models that come with reconv: its own networks for CIFAR, torchvision's models, timm's."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from reconv.optional import optional
from reconv.provenance import ModelSpec, Normalization, Provenance, Resizing, attach, provenance_of
from reconv.registry import register
from reconv.zoo.layouts import in_our_names
from reconv.zoo.resnet import CifarResNet
from reconv.zoo.sources import ModelSource, build_skeleton
from reconv.zoo.vgg import CifarVGG16
from reconv.zoo.weights import fill

_OWN: dict[str, Callable[..., nn.Module]] = {
    **{f"resnet{depth}": partial(CifarResNet, depth) for depth in (20, 32, 44, 56, 110)},
    "vgg16_bn": CifarVGG16,
}

# Arguments of timm.create_model that load or download something.
TIMM_RESERVED = frozenset({"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"})


def _build_own(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    return _OWN[name](**arguments)


def _library(name: str) -> Any:
    return optional(name, f"models of {name}")


@cache
def _torchvision_names() -> frozenset[str]:
    if find_spec("torchvision") is None:
        return frozenset()
    models = _library("torchvision").models
    return frozenset(models.list_models(exclude="quantized_*")) - _torchvision_quantized()


@cache
def _torchvision_quantized() -> frozenset[str]:
    models = _library("torchvision").models
    return frozenset(models.list_models(module=models.quantization))


@cache
def _torchvision_classifiers() -> frozenset[str]:
    models = _library("torchvision").models
    return frozenset(models.list_models(module=models))


def _build_torchvision(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    if name in ("googlenet", "inception_v3"):  # else they warn of their own future
        arguments = {"init_weights": True, **arguments}
    if _is_built_on_a_backbone(name):
        arguments = {"weights_backbone": None, **arguments}  # else it is downloaded
    model: nn.Module = _library("torchvision").models.get_model(name, weights=None, **arguments)
    return model


@cache
def _is_built_on_a_backbone(name: str) -> bool:
    builder = _library("torchvision").models.get_model_builder(name)
    return "weights_backbone" in inspect.signature(builder).parameters


def _published_by_torchvision(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    published = _library("torchvision").models.get_model_weights(name).DEFAULT
    tensors = published.get_state_dict(progress=False, check_hash=True, weights_only=True)
    spec = ModelSpec(f"torchvision:{name}", arguments)
    model = fill(build_skeleton(spec), in_our_names(spec.name, tensors), published)
    if name not in _torchvision_classifiers():  # detectors do it themselves
        return attach(model, Provenance(spec=spec))
    transforms = published.transforms()
    normalization = Normalization(tuple(transforms.mean), tuple(transforms.std))
    (side,), (resize,) = transforms.crop_size, transforms.resize_size
    return attach(model, Provenance(spec=spec, normalization=normalization, resizing=Resizing(side, resize)))


def _torchvision_input(model: nn.Module, name: str) -> tuple[int, int, int]:
    size = getattr(model, "image_size", None)  # of vision transformers, which take no other
    if not size:
        transforms = _library("torchvision").models.get_model_weights(name).DEFAULT.transforms()
        size = (getattr(transforms, "crop_size", None) or getattr(transforms, "resize_size", None) or (224,))[0]
    return 3, size, size


@cache
def _timm_names() -> frozenset[str]:
    return frozenset() if find_spec("timm") is None else frozenset(_library("timm").list_models())


@cache
def _timm_tagged_names() -> frozenset[str]:
    """Names that say which published weights too: `resnet50.a1_in1k`."""
    return frozenset() if find_spec("timm") is None else frozenset(_library("timm").list_pretrained())


def _build_timm(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    model: nn.Module = _library("timm").create_model(name, pretrained=False, **arguments)
    return model


def _published_by_timm(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    provenance = provenance_of(build_skeleton(ModelSpec(f"timm:{name}", arguments)))  # refuses what it does not take
    with torch.random.fork_rng(devices=[]):
        model: nn.Module = _library("timm").create_model(name, pretrained=True, **arguments).eval()
    return attach(model, replace(timm_preprocessing(model), spec=provenance.spec))


def timm_normalization(model: nn.Module) -> Normalization | None:
    """What timm's published weights of this model expect; None for other models and other classes."""
    published = getattr(model, "pretrained_cfg", None)
    if not isinstance(published, Mapping) or published.get("num_classes") != getattr(model, "num_classes", 0):
        return None
    return Normalization(tuple(published["mean"]), tuple(published["std"]))


def timm_preprocessing(model: nn.Module) -> Provenance:
    """How timm's published weights of a model, whatever its classes, take images."""
    published: Any = model.pretrained_cfg
    side, crop = published["input_size"][-1], published.get("crop_pct") or 0.875
    return Provenance(
        normalization=Normalization(tuple(published["mean"]), tuple(published["std"])),
        resizing=Resizing(side, int(side / crop)),
    )


def _timm_input(model: nn.Module, name: str) -> tuple[int, int, int]:
    channels, height, width = model.pretrained_cfg["input_size"]  # type: ignore[index]
    spec = provenance_of(model).spec
    return int(channels if spec is None else spec.arguments.get("in_chans", channels)), height, width


register(ModelSource("reconv", "networks for CIFAR", _build_own, lambda: _OWN, channels="in_channels"))
register(
    ModelSource(
        "torchvision",
        "models of torchvision",
        _build_torchvision,
        _torchvision_names,
        published=_published_by_torchvision,
        fits_classes=lambda name: name in _torchvision_classifiers(),
        input_size=_torchvision_input,
        reserved=frozenset({"weights", "weights_backbone", "progress"}),
    )
)
register(
    ModelSource(
        "timm",
        "models of timm",
        _build_timm,
        _timm_names,
        _timm_tagged_names,
        published=_published_by_timm,
        channels="in_chans",
        input_size=_timm_input,
        reserved=TIMM_RESERVED,
    )
)
