"""`reconv evaluate`: how often a network is right."""

from __future__ import annotations

import time
from typing import Literal

from reconv.cli.options import Data, Network, SeededMachine
from reconv.compression import Compression

EXAMPLES = (
    "reconv evaluate resnet56 --weights W.safetensors --data-set CIFAR10",
    "reconv evaluate P/model --data-set digits --split validation",
)


def command(
    network: Network,
    data: Data = Data(),
    split: Literal["train", "validation", "test"] = "test",
    batch_size: int | None = None,
    machine: SeededMachine = SeededMachine(),
) -> None:
    """Top-1 and top-5 accuracy, and the loss, on a split of a data set.

    Args:
        split: train, validation or test.
        batch_size: images per step.
    """
    from reconv import runs
    from reconv.cli import common, console
    from reconv.errors import ConfigError
    from reconv.training import device_named, evaluate

    if batch_size is not None and batch_size < 1:
        raise ConfigError(f"--batch-size: {batch_size}; give at least 1")
    request = common.run_config(network, data, machine.device, compression=Compression(seed=machine.seed))
    device = device_named(machine.device)
    progress = console.Progress()
    given = runs.load_inputs(request, progress)
    model, images = given.network.to(device), given.data
    if images is None:
        raise ConfigError(f"{data.task}: no loader of images to evaluate on; define test_loader")
    if not runs.is_trained(request):
        progress.note("no weights given: the network's are random.")
    with progress.stage("evaluate") as stage:
        start = time.perf_counter()
        result = evaluate(model, images, split, batch_size=batch_size, metric=given.metric, loss=given.loss)
        stage.note = f"{result.n / (time.perf_counter() - start):,.0f} images/s"
    console.stdout().print(f"{images.name} {split}: {result}", markup=False, soft_wrap=True)
