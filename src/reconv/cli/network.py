"""A network and its graph, for commands that need no images but their shape."""

from __future__ import annotations

from torch import Tensor, nn

from reconv.cli import common, console
from reconv.cli.options import InputShape, Network
from reconv.data import DataSet, calibration_images, load_data
from reconv.examples import read_example
from reconv.graph import ChannelGraph, trace
from reconv.inputs import on_device
from reconv.networks import SHIPPED, example_of, load_network, own_example, zeros
from reconv.provenance import provenance_of
from reconv.training import device_named
from reconv.zoo import find_trained, own_input_size

_USUAL = "CIFAR10"


def traced(network: Network, shape: InputShape, device: str = "cpu", *, trained: bool = False) -> ChannelGraph:
    """The network that the options name, traced without images.

    Args:
        shape: of its input; without a data set: what a model of torchvision or timm
            was made for, CIFAR-10's for others.
        trained: its weights matter: with none given, those that come with reconv.
    """
    usual = shape.data_set or _USUAL
    example, classes = example_of(usual, shape.image_size)
    arguments = common.model_arguments(network)
    weights = common.given_weights(network.weights)
    if trained:
        weights = common.starting_weights(network.weights, network.model, usual, arguments)
    notes: tuple[str, ...] = ()
    if weights == SHIPPED and (net := find_trained(network.model, usual)):
        weights, notes = str(net.weights), (f"the weights are those of {net}.",)
    if shape.example is not None:
        model = load_network(network.model, weights, arguments)
        example = read_example(shape.example)
    elif shape.data_set is None:
        model = load_network(network.model, weights, arguments)
        size = own_input_size(model)
        if (own := own_example(model)) is not None:
            example = own
        elif size is not None:
            example = zeros(size, shape.image_size)
    else:
        model = load_network(network.model, weights, arguments, channels=example.shape[1], classes=classes)
    for note in (*notes, *provenance_of(model).notes):
        console.Progress().note(note)
    where = device_named(device)
    return trace(model.to(where), on_device(example, where))


def read_images(
    model: nn.Module, data_set: str | None, root: str | None, number: int
) -> tuple[DataSet | None, Tensor | None]:
    """A data set by name, and so many of its training images as the network takes them; None where none is named."""
    if data_set is None:
        return None, None
    data = load_data(data_set, root, download=True)
    return data, calibration_images(data, number, 0, normalization=provenance_of(model).normalization)
