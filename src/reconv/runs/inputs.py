"""What a run starts from: its network, its images and its task, by the names in its configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from reconv.data import DataSet, load_data
from reconv.errors import ConfigError
from reconv.examples import read_example
from reconv.networks import SHIPPED, example_of, load_network, shipped_net
from reconv.provenance import Resizing, attach, provenance_of
from reconv.quality import held_out
from reconv.runlog import RunLog
from reconv.runs.config import RunConfig
from reconv.tasks import Task, load_task
from reconv.training import Metric
from reconv.training.evaluation import check_fits
from reconv.zoo import find_model


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a run starts from.

    Args:
        network: as it is given. data: the images, as the network takes them; None: none are needed.
        example: an input of the network; None: zeros in the shape of the images. loss, metric: of the user's task.
    """

    network: nn.Module
    data: DataSet | None
    example: Any = None
    loss: Callable[[Any, Any], Tensor] | None = None
    metric: Metric | None = None


def load_inputs(config: RunConfig, log: RunLog, *, images: bool = True, held: float | None = None) -> Inputs:
    """Load what a configuration names; what was assumed about it is noted.

    Args:
        images: whether they are needed. held: which share is kept to measure on, of images without labels.

    Raises:
        ConfigError: the network does not take such images, or has another number of classes.
    """
    task = load_task(config.task, config.seed) if config.task else Task("")
    data = task.data
    if config.task is None and images:
        data = load_images(config, held)
    elif config.task is not None and data is None and images and task.example is None and config.example is None:
        raise ConfigError(f"{config.task}: no loader and no example; define one of them, or give --example 1x3x224x224")
    example = task.example if config.example is None else read_example(config.example)
    network = _network(config, data, example, log)
    if data is not None:
        data = as_the_network_takes_them(data, network, example)
        if task.loss is None and task.metric is None and data.labelled:
            check_fits(network, data)
    return Inputs(network, data, example, task.loss, task.metric)


def load_images(config: RunConfig, held: float | None = None) -> DataSet:
    """The data set of a run; CIFAR is downloaded where it is missing and there is a network."""
    sizes = config.preprocessing
    data = load_data(
        config.data_set,
        config.data_root,
        seed=config.seed,
        download=True,
        image_size=sizes.image_size,
        resize=sizes.resize,
        normalization=sizes.normalization,
    )
    return held_out(data, config.seed, held)


def as_the_network_takes_them(data: DataSet, network: nn.Module, example: Any = None) -> DataSet:
    """Images on disk, read as the network's provenance says; where it does not, in the size of an example."""
    provenance = provenance_of(network)
    channels = example.shape[1] if isinstance(example, Tensor) and example.ndim == 4 else _channels_of(network)
    sizes = provenance.resizing
    if sizes is None and isinstance(example, Tensor) and example.ndim == 4:
        sizes = Resizing(int(example.shape[-1]), int(example.shape[-1]))
    return data.prepared(provenance.normalization, sizes, channels)


def is_trained(config: RunConfig) -> bool:
    """Whether the network that a run is given has been trained."""
    return config.weights is not None or find_model(config.model)[0].has_weights


def _network(config: RunConfig, data: DataSet | None, example: Any, log: RunLog) -> nn.Module:
    """The network, with the preprocessing that the user gives."""
    usual, classes = example_of(config.data_set) if config.task is None else (torch.zeros(1, 3, 1, 1), None)
    first = example if isinstance(example, Tensor) else usual
    if data is not None:
        classes = data.num_classes or classes
        first = data.example() if data.sample is None and example is None else first
    weights = config.weights
    if weights == SHIPPED:
        net = shipped_net(config.model, config.data_set)
        weights = str(net.weights)
        log.note(f"starts from {net}; --weights none trains one from scratch.")
    channels = int(first.shape[1]) if first.ndim == 4 else 3
    model = load_network(config.model, weights, config.arguments, channels=channels, classes=classes, seed=config.seed)
    provenance = provenance_of(model)
    for text in provenance.notes:
        log.note(text)
    normalization, resizing = config.preprocessing.normalization, config.preprocessing.resizing
    if normalization is not None and provenance.normalization not in (None, normalization):
        log.note(f"{config.model}: was trained on images normalized otherwise ({provenance.normalization}).")
    return attach(
        model,
        replace(
            provenance,
            normalization=normalization or provenance.normalization,
            resizing=resizing or provenance.resizing,
        ),
    )


def _channels_of(network: nn.Module) -> int:
    """Of the images that the network's first convolution takes, if it can be told; else 0."""
    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    return first.in_channels if first is not None and first.in_channels in (1, 3) else 0
