"""Which models there are by name, and how each is built: our own, torchvision's, timm's, in this order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import nn

from reconv.errors import ConfigError, unknown_name
from reconv.provenance import ModelSpec, Provenance, attach
from reconv.zoo.resnet import CifarResNet
from reconv.zoo.vgg import CifarVGG16

_OWN: dict[str, Callable[..., nn.Module]] = {
    **{f"resnet{depth}": partial(CifarResNet, depth) for depth in (20, 32, 44, 56, 110)},
    "vgg16_bn": CifarVGG16,
}


def _build_own(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    return _OWN[name](**arguments)


@cache
def _torchvision_names() -> frozenset[str]:
    import torchvision

    return frozenset(torchvision.models.list_models(module=torchvision.models))


def _build_torchvision(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    import torchvision

    if name in ("googlenet", "inception_v3"):  # else they warn of their own future
        arguments = {"init_weights": True, **arguments}
    model: nn.Module = torchvision.models.get_model(name, weights=None, **arguments)
    return model


@cache
def _timm_names() -> frozenset[str]:
    import timm

    return frozenset(timm.list_models())


@cache
def _timm_tagged_names() -> frozenset[str]:
    """Names that say which published weights too: `resnet50.a1_in1k`."""
    import timm

    return frozenset(timm.list_pretrained())


def _build_timm(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    import timm

    model: nn.Module = timm.create_model(name, pretrained=False, **arguments)
    return model


@dataclass(frozen=True)
class _Source:
    """A library of models.

    Attributes:
        names: of its models. more_names: further ones that it knows, too many to list.
        build: a model by one of these, and arguments.
        reserved: arguments that would load or download something.
    """

    names: Callable[[], Collection[str]]
    build: Callable[[str, Mapping[str, Any]], nn.Module]
    reserved: frozenset[str] = frozenset()
    more_names: Callable[[], Collection[str]] = frozenset


_SOURCES = {
    "reconv": _Source(lambda: _OWN, _build_own),
    "torchvision": _Source(
        _torchvision_names, _build_torchvision, frozenset({"weights", "weights_backbone", "progress"})
    ),
    "timm": _Source(
        _timm_names,
        _build_timm,
        frozenset({"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"}),
        _timm_tagged_names,
    ),
}


def model_names(source: str | None = None) -> tuple[str, ...]:
    """The names that `load_model` takes, sorted; of one source (`reconv`, `torchvision`, `timm`) or all."""
    if source is not None and source not in _SOURCES:
        raise unknown_name("source of models", source, _SOURCES)
    chosen = _SOURCES if source is None else {source: _SOURCES[source]}
    return tuple(sorted({name for entry in chosen.values() for name in entry.names()}))


def resolve(name: str) -> tuple[str, str]:
    """The source and the name within it that a name as users write it stands for.

    Args:
        name: `resnet56`, `ResNet-56`, `torchvision:resnet50`, `timm:resnet50`. Without a source, our own come
            before torchvision's, and these before timm's.

    Raises:
        UnknownNameError: with the nearest names.
    """
    prefix, colon, rest = name.strip().partition(":")
    if colon and prefix.lower() not in _SOURCES:
        raise unknown_name("source of models", prefix, _SOURCES)
    sources = [prefix.lower()] if colon else list(_SOURCES)
    wanted = (rest if colon else name.strip()).lower().replace("-", "_")
    spellings = (wanted, wanted.replace("_", ""))
    for source in sources:
        entry = _SOURCES[source]
        for spelling in spellings:
            if spelling in entry.names() or ("." in spelling and spelling in entry.more_names()):
                return source, spelling
    raise unknown_name("model", wanted, {known for source in sources for known in _SOURCES[source].names()})


def canonical_name(name: str) -> str:
    """The one spelling of a model's name that specifications hold: `resnet56`, `torchvision:resnet34`."""
    source, found = resolve(name)
    return found if source == "reconv" else f"{source}:{found}"


def build_model(spec: ModelSpec) -> nn.Module:
    """Build a model with random weights, in evaluation mode; nothing is ever downloaded.

    The weights are drawn from torch's global generator, as every `nn.Module`'s are: `torch.manual_seed`
    decides them. Works under `with torch.device("meta")` where the architecture does (see `build_skeleton`).

    Args:
        spec: name and arguments, such as `ModelSpec("resnet56", {"num_classes": 100})`.

    Returns:
        The model, which carries its provenance.

    Raises:
        UnknownNameError: no such model.
        ConfigError: arguments that it does not take.
    """
    source, name = resolve(spec.name)
    entry = _SOURCES[source]
    if reserved := sorted(entry.reserved & set(spec.arguments)):
        raise ConfigError(
            f"{spec.name}: {', '.join(reserved)} would load weights; leave it out, and give "
            "weights=FILE or pretrained=True to load_model."
        )
    classes = spec.arguments.get("num_classes", 1)
    if not isinstance(classes, int) or classes < 1:
        raise ConfigError(f"{spec.name}: num_classes is {classes!r}; give a whole number of at least 1.")
    try:
        model = entry.build(name, spec.arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{spec.name}: cannot be built with {dict(spec.arguments)}: {error}.") from error
    canonical = ModelSpec(name if source == "reconv" else f"{source}:{name}", spec.arguments)
    return attach(model.eval(), Provenance(spec=canonical))


def build_skeleton(spec: ModelSpec) -> nn.Module:
    """Build a model to be filled with weights, on the meta device where it can be.

    No random number is consumed. An architecture that computes with its own values while it is built, or has
    buffers that its state does not hold, is built for real.
    """
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                model = build_model(spec)
        except NotImplementedError:  # "Cannot copy out of meta tensor"
            return build_model(spec)
        held = model.state_dict().keys()
        if all(name in held for name, _ in model.named_buffers()):
            return model
        return build_model(spec)
