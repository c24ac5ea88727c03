"""`load_model`: a model by name, with random, local or published weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from reconv.errors import ArtifactError, ConfigError, WeightsError, check_kind, first_line
from reconv.files import PathLike
from reconv.provenance import ModelSpec, Normalization, attach, provenance_of
from reconv.zoo.layouts import layout_of
from reconv.zoo.libraries import timm_normalization
from reconv.zoo.sources import ModelSource, build_model, build_skeleton, canonical_name, find_model
from reconv.zoo.weights import fill, read_weights, recorded_provenance


def load_model(
    name: str,
    *,
    weights: PathLike | None = None,
    pretrained: bool = False,
    num_classes: int | None = None,
    normalization: Normalization | None = None,
    **arguments: Any,
) -> nn.Module:
    """A model by name, in evaluation mode, on the CPU, that carries its provenance.

    Without weights they are drawn from torch's global generator, so `torch.manual_seed` decides them; with
    weights no random number is consumed. Only `pretrained=True` ever downloads.

    Args:
        name: `resnet20/32/44/56/110` or `vgg16_bn` for CIFAR, or a model of torchvision or timm
            (`torchvision:resnet50`, `timm:resnet50`; a bare name is looked up in this order); or the folder of a
            saved model or a run; or a class or function of your own, `my_net.py:MyNet` or `package.module:factory`; or
            of another `ModelSource` (`reconv list sources`).
        weights: a local file: `.safetensors`, `.pth`, `.pt`, `.th`, `.tar`. What it implies about the model
            (option-A shortcut, classes, normalization) is taken over where the other arguments do not say
            otherwise; `provenance_of(model).notes` tells.
        pretrained: published weights, downloaded where they are not cached; of a function of your own: those that it
            loads.
        num_classes: outputs; if None, those of the weights, else the model's default.
        normalization: mean and std of the input; if None, what the weights are known to need.
        arguments: the model's own, such as `shortcut="average"`.

    Raises:
        UnknownNameError: no such model.
        ConfigError: arguments that do not go together.
        ArtifactError: a weights file that is missing, truncated or corrupt.
        WeightsError: weights that do not fit, or hold NaN or infinity.

    Example:
        >>> import reconv
        >>> model = reconv.load_model("resnet20", num_classes=100)
        >>> model.fc
        Linear(in_features=64, out_features=100, bias=True)
    """
    check_kind("load_model: name", name, str, 'a name such as "resnet56", or the folder of a saved model')
    if weights is not None and pretrained:
        raise ConfigError(f"{name}: both weights={weights} and pretrained=True; give one of them.")
    source, own_name = find_model(name)
    if num_classes is not None:
        arguments[source.classes] = num_classes
    if source.has_weights:
        if weights is not None or pretrained or not source.takes.issuperset(arguments):
            others = f" but {', '.join(sorted(source.takes))}" if source.takes else ""
            raise ConfigError(
                f"{name}: a saved model brings its weights; leave weights and arguments{others} out, or give a model's "
                "name."
            )
        model = source.build(own_name, arguments)
    elif pretrained:
        model = _load_published(source, own_name, arguments)
    elif weights is not None:
        model = _load_local(name, weights, arguments, normalization)
    else:
        model = build_model(ModelSpec(name, arguments))
    known = normalization or provenance_of(model).normalization
    return attach(model, replace(provenance_of(model), normalization=known))


@dataclass(frozen=True)
class _Implied:
    """What a weights file says about its model, and the tensors by our names."""

    tensors: Mapping[str, Tensor]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    normalization: Normalization | None = None
    notes: tuple[str, ...] = ()


def _load_local(name: str, path: PathLike, given: Mapping[str, Any], normalization: Normalization | None) -> nn.Module:
    source, own_name = find_model(name)
    implied = _implied(canonical_name(name), path, given, normalization)
    arguments = {**implied.arguments, **given}
    if source.classes not in arguments and source.classes_argument(own_name, 1):
        classes = _classes(build_skeleton(ModelSpec(name, arguments)), implied.tensors)
        arguments |= source.classes_argument(own_name, classes)
    model = build_skeleton(ModelSpec(name, arguments))
    own = model.state_dict()
    fill(model, {key: _as(own.get(key), tensor) for key, tensor in implied.tensors.items()}, path)
    known = normalization or implied.normalization or timm_normalization(model)
    return attach(model, replace(provenance_of(model), normalization=known, notes=implied.notes))


def _as(own: Tensor | None, tensor: Tensor) -> Tensor:
    """A tensor in the precision of the model's own; complex numbers do not become real ones."""
    return tensor if own is None or tensor.is_complex() else tensor.to(own.dtype)


def _implied(name: str, path: PathLike, given: Mapping[str, Any], normalization: Normalization | None) -> _Implied:
    tensors = read_weights(path)
    recorded = recorded_provenance(path)
    if recorded is not None and recorded.spec is not None:
        if recorded.edits:
            raise WeightsError(
                f"{path}: holds weights of a pruned {recorded.spec.name}; load the folder {Path(path).parent} instead."
            )
        if recorded.spec.name != name:
            raise WeightsError(
                f"{path}: holds weights of {recorded.spec.name}, not of {name}; "
                f"load them as {recorded.spec.name}, or give other weights."
            )
        return _Implied(tensors, recorded.spec.arguments, recorded.normalization, recorded.notes)
    layout = layout_of(name, tensors)
    if layout is None:
        return _Implied(tensors)
    assumed = [f"{key}={value!r}" for key, value in layout.arguments.items() if key not in given]
    if layout.normalization is not None and normalization is None:
        assumed.append(f"input mean {layout.normalization.mean} and std {layout.normalization.std}")
    consequence = f"; assumed {' and '.join(assumed)}, which an argument overrides" if assumed else ""
    note = f"{path}: recognized as {layout.title}{consequence}."
    return _Implied(layout.rename(tensors), layout.arguments, layout.normalization, (note,))


def _classes(model: nn.Module, tensors: Mapping[str, Tensor]) -> int | None:
    """The number of classes that weights are for: outputs of the last linear layer or convolution."""
    heads = [path for path, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    weight = tensors.get(f"{heads[-1]}.weight") if heads else None
    return None if weight is None or weight.ndim < 2 else weight.shape[0]


def _load_published(source: ModelSource, name: str, arguments: Mapping[str, Any]) -> nn.Module:
    if source.published is None:
        raise ConfigError(f"{name}: no weights are published for it; give weights=FILE, or pretrained=False.")
    try:
        return source.published(name, arguments)
    except (OSError, RuntimeError, ValueError) as error:
        reason = first_line(error)[:160]
        raise ArtifactError(
            f"{source.name}:{name}: its published weights cannot be loaded ({reason}); download them by other means "
            "and give weights=FILE."
        ) from error
