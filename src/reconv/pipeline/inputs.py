"""What a run starts from: images, a network, and the shape of its input."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reconv.artifacts import is_saved_model, load
from reconv.data import DataSet, DataSource, load_data
from reconv.errors import ConfigError
from reconv.pipeline.config import RunConfig, Schooling
from reconv.pipeline.watch import Diary
from reconv.provenance import provenance_of
from reconv.training.evaluation import check_fits
from reconv.zoo import TrainedNet, find_model, find_trained, load_model

PRETRAINED, SHIPPED = "pretrained", "shipped"  # in place of a file of weights
RANDOM = ("none", "scratch")  # the same: ask for random ones
MODEL, BASE = "model", "base"

PHOTOGRAPH = (3, 224, 224)  # the images of a data set whose name does not tell


def load_images(config: RunConfig) -> DataSet:
    """The data set of a run; CIFAR is downloaded where it is missing and there is a network."""
    return load_data(config.data_set, config.data_root, seed=config.seed, download=True)


def saved_model_in(path: str | Path) -> Path | None:
    """The saved model at a path: the folder itself, or the final model of a run's folder; None if there is none."""
    folder = Path(path)
    return next((place for place in (folder, folder / MODEL) if is_saved_model(place)), None)


def is_trained(config: RunConfig) -> bool:
    """Whether the network that a run is given has been trained."""
    return config.weights is not None or saved_model_in(config.model) is not None


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
        name: as `load_model` takes it; or a folder that `save`, or a run, wrote.
        weights: for a network by name: a file of trained weights, or "pretrained" for published ones.
        arguments: of the model.
        channels: of its input images; said to the model only where they are not 3.
        classes: its outputs, where no weights say.
        seed: of random weights.

    Raises:
        ConfigError: weights given for a saved model, or images that the model cannot be built for.
    """
    saved = saved_model_in(name)
    if saved is not None or os.sep in name:
        if weights is not None:
            raise ConfigError(f"{name}: a saved model brings its weights; leave --weights out, or give a model's name")
        return load(saved or name)
    given = dict(arguments or {}) | _channel_argument(name, channels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if weights is None:
            return load_model(name, **{"num_classes": classes} | given)
        if weights == PRETRAINED:
            return load_model(name, pretrained=True, **given)
        return load_model(name, weights=weights, **given)


def given_network(config: RunConfig, data: DataSet | None, diary: Diary) -> nn.Module:
    """The network of a run as it is given, checked against the images; what was assumed about it is told.

    Raises:
        ConfigError: it does not take such images, or has another number of classes.
    """
    example, classes = example_of(config.data_set) if data is None else (data.example(), data.num_classes)
    weights = config.weights
    if weights == SHIPPED:
        net = shipped_net(config)
        weights = str(net.weights)
        diary.note(f"starts from {net}; --weights none trains one from scratch.")
    model = load_network(
        config.model,
        weights,
        config.arguments,
        channels=example.shape[1],
        classes=classes,
        seed=config.seed,
    )
    for text in provenance_of(model).notes:
        diary.note(text)
    if data is not None:
        check_fits(model, data)
    return model


def shipped_net(config: RunConfig) -> TrainedNet:
    """The trained network that comes with reconv for a run's model and data set.

    Raises:
        ConfigError: there is none.
    """
    found = find_trained(config.model, config.data_set)
    if found is None:
        raise ConfigError(
            f"{config.model}: no trained network for {config.data_set} comes with reconv; give --weights F, or none "
            "to train one"
        )
    return found


def teacher_of(how: Schooling, config: RunConfig, base: nn.Module | None = None) -> nn.Module | None:
    """The network whose scores a training learns too; None without one.

    Args:
        how: names it.
        config: of the run; where its model is the folder of another run, "base" is that run's.
        base: what "base" stands for within a run.

    Raises:
        ConfigError: no saved network is there.
    """
    if how.teacher is None:
        return None
    if how.teacher == BASE:
        if base is not None:
            return base
        place = Path(config.model) / BASE
    else:
        place = Path(how.teacher)
    saved = saved_model_in(place)
    if saved is None:
        raise ConfigError(f"teacher: {place} is no saved network; give the folder of one, such as P/base of a run")
    return load(saved)


def _channel_argument(name: str, channels: int) -> dict[str, int]:
    """How a model is told that its images have other than three channels; torchvision's cannot be told."""
    key = find_model(name)[0].channels
    return {} if channels == 3 or key is None else {key: channels}


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
