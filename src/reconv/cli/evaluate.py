"""`reconv evaluate`: how often a network is right."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from reconv.cli import options

EXAMPLES = (
    "reconv evaluate --model resnet56 --weights W.safetensors --data-set CIFAR10",
    "reconv evaluate --model P/model --data-set digits --split validation",
)

Split = Annotated[str, typer.Option("--split", help="train, validation or test.", rich_help_panel="Data")]


def command(
    model: options.Model,
    weights: options.Weights = None,
    shortcut: options.Shortcut = None,
    data_set: options.DataSet = "CIFAR10",
    data_root: options.DataRoot = None,
    split: Split = "test",
    batch_size: options.BatchSize = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
) -> None:
    """Top-1 and top-5 accuracy, and the loss, on a split of a data set."""
    from reconv import runs
    from reconv.cli import common, console
    from reconv.compression import Compression
    from reconv.errors import ConfigError, unknown_name
    from reconv.training import device_named
    from reconv.training import evaluate as count

    if split not in ("train", "validation", "test"):
        raise unknown_name("split", split, ("train", "validation", "test"))
    if batch_size is not None and batch_size < 1:
        raise ConfigError(f"--batch-size: {batch_size}; give at least 1")
    config = runs.RunConfig(
        model=model,
        weights=common.starting_weights(weights, model, data_set, common.model_arguments(shortcut)),
        arguments=common.model_arguments(shortcut),
        data_set=data_set,
        data_root=common.text(data_root),
        compression=Compression(seed=seed),
    )
    where = device_named(device)
    data = runs.load_images(config)
    progress = console.Progress()
    network = runs.given_network(config, data, progress).to(where)
    if not runs.is_trained(config):
        progress.note("no weights given: the network's are random.")
    with progress.stage("evaluate") as stage:
        start = time.perf_counter()
        found = count(network, data, split, batch_size=batch_size)  # type: ignore[arg-type]  # checked above
        stage.note = f"{found.n / (time.perf_counter() - start):,.0f} images/s"
    console.stdout().print(f"{data.name} {split}: {found}", markup=False, soft_wrap=True)
