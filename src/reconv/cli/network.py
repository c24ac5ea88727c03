"""A network and its graph, for commands that need no images but their shape."""

from __future__ import annotations

from pathlib import Path

from reconv.cli import common, console
from reconv.graph import ChannelGraph, trace
from reconv.pipeline import example_of, load_network
from reconv.pipeline.inputs import SHIPPED
from reconv.provenance import provenance_of
from reconv.training import device_named
from reconv.zoo import find_trained


def traced(
    model: str,
    weights: Path | None,
    shortcut: str | None,
    data_set: str,
    image_size: int | None,
    device: str = "cpu",
    *,
    trained: bool = False,
) -> ChannelGraph:
    """The network that the options name, traced with images of the data set's shape; where its weights matter
    (`trained`), with those that come with reconv if none are given."""
    example, classes = example_of(data_set, image_size)
    arguments = common.model_arguments(shortcut)
    given = common.starting_weights(weights, model, data_set, arguments) if trained else common.given_weights(weights)
    notes: tuple[str, ...] = ()
    if given == SHIPPED and (net := find_trained(model, data_set)):
        given, notes = str(net.weights), (f"the weights are those of {net}.",)
    network = load_network(model, given, arguments, channels=example.shape[1], classes=classes)
    for note in (*notes, *provenance_of(network).notes):
        console.Progress().note(note)
    where = device_named(device)
    return trace(network.to(where), example.to(where))
