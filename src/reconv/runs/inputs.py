"""What a run starts from: its images and its network, by the names in its configuration."""

from __future__ import annotations

from torch import nn

from reconv.data import DataSet, load_data
from reconv.networks import SHIPPED, example_of, load_network, shipped_net
from reconv.provenance import provenance_of
from reconv.runlog import RunLog
from reconv.runs.config import RunConfig
from reconv.training.evaluation import check_fits
from reconv.zoo import find_model


def load_images(config: RunConfig) -> DataSet:
    """The data set of a run; CIFAR is downloaded where it is missing and there is a network."""
    return load_data(config.data_set, config.data_root, seed=config.seed, download=True)


def is_trained(config: RunConfig) -> bool:
    """Whether the network that a run is given has been trained."""
    return config.weights is not None or find_model(config.model)[0].has_weights


def given_network(config: RunConfig, data: DataSet | None, log: RunLog) -> nn.Module:
    """The network of a run as it is given, checked against the images; what was assumed about it is noted.

    Raises:
        ConfigError: it does not take such images, or has another number of classes.
    """
    example, classes = example_of(config.data_set) if data is None else (data.example(), data.num_classes)
    weights = config.weights
    if weights == SHIPPED:
        net = shipped_net(config.model, config.data_set)
        weights = str(net.weights)
        log.note(f"starts from {net}; --weights none trains one from scratch.")
    model = load_network(
        config.model, weights, config.arguments, channels=example.shape[1], classes=classes, seed=config.seed
    )
    for text in provenance_of(model).notes:
        log.note(text)
    if data is not None:
        check_fits(model, data)
    return model
