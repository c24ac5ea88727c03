"""Networks by name or by path, and the shape of their input where there are no images to tell."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reconv.artifacts import is_saved_model, load
from reconv.data import DataSource
from reconv.deploy.onnx.network import OnnxNetwork
from reconv.errors import ConfigError
from reconv.provenance import attach, provenance_of
from reconv.training.evaluation import device_of
from reconv.zoo import TrainedNet, find_model, find_trained, load_model
from reconv.zoo.code import use_code

PRETRAINED, SHIPPED = "pretrained", "shipped"  # in place of a file of weights
RANDOM = ("none", "scratch")  # the same: ask for random ones
MODEL = "model"

PHOTOGRAPH = (3, 224, 224)  # the images of a data set whose name does not tell


def saved_model_in(path: str | Path) -> Path | None:
    """The saved model at a path: the folder itself, or the final model of a run's folder; None if there is none."""
    folder = Path(path)
    return next((candidate for candidate in (folder, folder / MODEL) if is_saved_model(candidate)), None)


def load_network(
    name: str,
    weights: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    *,
    channels: int = 3,
    classes: int | None = None,
    seed: int = 0,
) -> nn.Module:
    """A network by name, or a saved one by path.

    Args:
        name: as `load_model` takes it.
        weights: for a network by name: a file of trained weights, or "pretrained" for published ones, or those that a
            function of one's own loads.
        arguments: of the model.
        channels: of its input images; said to the model only where they are not 3.
        classes: its outputs, where no weights say.
        seed: of random weights.

    Raises:
        ConfigError: weights given for a saved model, or images that the model cannot be built for.
    """
    source, own_name = find_model(name)
    if source.has_weights:
        if weights is not None:
            raise ConfigError(f"{name}: a saved model brings its weights; leave --weights out, or give a model's name")
        return load_model(name, **(arguments or {} if source.takes else {}))
    if source.code is not None:
        use_code(source.code(own_name))  # the user names it, by the model's name
    given = dict(arguments or {}) | _channel_argument(name, channels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if weights is None:
            return load_model(name, **source.classes_argument(own_name, classes) | given)
        if weights == PRETRAINED:
            return load_model(name, pretrained=True, **given)
        return load_model(name, weights=weights, **given)


def load_trained(name: str, data_set: str = "") -> nn.Module:
    """A trained network: a saved one by path, or the one that comes with reconv for a data set.

    Raises:
        ConfigError: none comes with reconv.
    """
    source, _ = find_model(name)
    if source.has_weights:
        return load_network(name)
    if source.code is not None:  # a function of the user's, which may load weights
        return load_network(name, PRETRAINED)
    return load_network(name, str(shipped_net(name, data_set).weights))


def shipped_net(model: str, data_set: str) -> TrainedNet:
    """The trained network that comes with reconv for a model and a data set.

    Raises:
        ConfigError: there is none.
    """
    net = find_trained(model, data_set)
    if net is None:
        raise ConfigError(
            f"{model}: no trained network for {data_set} comes with reconv; give --weights F, or none to train one"
        )
    return net


def teacher_network(name: str) -> nn.Module:
    """The saved network whose outputs a training learns too, by its folder.

    Raises:
        ConfigError: no saved network is there.
    """
    saved = saved_model_in(name)
    if saved is None:
        raise ConfigError(f"teacher: {name} is no saved network; give the folder of one, such as P/base of a run")
    return load(saved)


def with_random_weights(model: nn.Module, seed: int) -> nn.Module:
    """A network of the same architecture with random weights, on the same device.

    Raises:
        ConfigError: a network that was pruned before, which no name builds.
    """
    provenance = provenance_of(model)
    if provenance.edits:
        raise ConfigError("random weights: of a network that was pruned before; give the unpruned one")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if provenance.spec is not None and find_model(provenance.spec.name)[0].code is None:
            fresh = load_model(provenance.spec.name, **provenance.spec.arguments)
        else:
            fresh = copy.deepcopy(model)
            for module in fresh.modules():
                if callable(reset := getattr(module, "reset_parameters", None)):
                    reset()
    normalization = provenance.normalization  # that its images have, whatever the weights
    return attach(fresh.to(device_of(model)), replace(provenance_of(fresh), normalization=normalization))


def _channel_argument(name: str, channels: int) -> dict[str, int]:
    """How a model is told that its images have other than three channels; torchvision's cannot be told."""
    key = find_model(name)[0].channels
    return {} if channels == 3 or key is None else {key: channels}


def own_example(model: nn.Module) -> Any:
    """Inputs in the shapes that a network's own file states; None for networks that have none."""
    return model.example() if isinstance(model, OnnxNetwork) else None


def example_of(data_set: str, image_size: int | None = None) -> tuple[Tensor, int | None]:
    """Zeros in the shape of a data set's images, `[1, C, H, W]`, and its number of classes if its name tells.

    Raises:
        ConfigError: a size that cannot be.
    """
    source = DataSource.registry.get(data_set)
    shape = PHOTOGRAPH if source is None or source.input_size is None else source.input_size
    return zeros(shape, image_size), None if source is None else source.num_classes


def zeros(shape: tuple[int, ...], image_size: int | None = None) -> Tensor:
    """An image of a shape, or of so many pixels a side: `[1, C, H, W]`.

    Raises:
        ConfigError: a size that cannot be.
    """
    channels, height, width = shape
    if image_size is not None:
        if image_size < 1:
            raise ConfigError(f"image size: {image_size}; give pixels, at least 1")
        height = width = image_size
    return torch.zeros(1, channels, height, width)
