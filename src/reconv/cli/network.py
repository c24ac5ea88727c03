"""A network and its graph, for commands that need no images but their shape."""

from __future__ import annotations

from pathlib import Path

from reconv.cli import common, console
from reconv.graph import ChannelGraph, trace
from reconv.networks import SHIPPED, example_of, load_network, zeros
from reconv.provenance import provenance_of
from reconv.training import device_named
from reconv.zoo import find_trained, own_input_size

_USUAL = "CIFAR10"


def traced(
    model: str,
    weights: Path | None,
    shortcut: str | None,
    data_set: str | None,
    image_size: int | None,
    device: str = "cpu",
    *,
    trained: bool = False,
) -> ChannelGraph:
    """The network that the options name, traced without images.

    Args:
        data_set: whose images' shape it is traced with; None: those that a model of torchvision or timm was made for,
            CIFAR-10's for any other.
        trained: its weights matter: with none given, those that come with reconv.
    """
    usual = data_set or _USUAL
    example, classes = example_of(usual, image_size)
    arguments = common.model_arguments(shortcut)
    given = common.starting_weights(weights, model, usual, arguments) if trained else common.given_weights(weights)
    notes: tuple[str, ...] = ()
    if given == SHIPPED and (net := find_trained(model, usual)):
        given, notes = str(net.weights), (f"the weights are those of {net}.",)
    if data_set is None:
        network = load_network(model, given, arguments)
        size = own_input_size(network)
        if size is not None:
            example = zeros(size, image_size)
    else:
        network = load_network(model, given, arguments, channels=example.shape[1], classes=classes)
    for note in (*notes, *provenance_of(network).notes):
        console.Progress().note(note)
    where = device_named(device)
    return trace(network.to(where), example.to(where))
