"""`reconv finetune`: train a pruned network further, as the paper's `finetune_resnet34.py` does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from reconv.cli.fields import Given
from reconv.cli.options import Data, RunOutput, SeededMachine
from reconv.compression import Compression
from reconv.steps import Finetune

EXAMPLES = (
    "reconv finetune P --data-set imagenet --data-root DATA --save-path Q",
    "reconv finetune P DATA --protocol paper-imagenet --save-path Q",
    "reconv finetune P/model --data-set CIFAR10 --protocol short --teacher P/base --save-path Q",
)


def command(
    model: Annotated[str | None, typer.Argument(help="A saved network, or the folder of a run.")] = None,
    folder: Annotated[
        str | None, typer.Argument(metavar="DATA", help="Folder of images with train/ and val/, instead of --data-set.")
    ] = None,
    refine: Annotated[
        str | None, typer.Option("--model", "-m", help="The same as MODEL; the only argument is DATA then.")
    ] = None,
    code: str | None = None,
    data: Given[Data] = Given(Data()),
    training: Finetune = Finetune(),
    machine: SeededMachine = SeededMachine(),
    output: RunOutput = RunOutput(),
) -> None:
    """Train a saved network further, with a small learning rate; the last epoch's is kept, and tested once.

    Under `torchrun` or `accelerate launch` several processes share every batch.

    Args:
        code: the Python file that defines the network's class, which is imported only if named here.
    """
    from reconv.cli import common
    from reconv.errors import ConfigError
    from reconv.runs import RunConfig
    from reconv.zoo.code import use_code

    use_code(code)

    if refine is not None:
        model, folder = refine, folder or model
    if model is None:
        raise ConfigError("reconv finetune: no model; give a saved network, as in `reconv finetune P -d CIFAR10`")
    if (folder is not None) + ("--data-set" in data) + ("--task" in data) != 1:
        raise ConfigError("images: give either a folder DATA, --data-set NAME or --task my_task.py")
    images = data.build() if folder is None else replace(data.build(), data_set=folder)
    request = RunConfig(
        model=model,
        **common.data_settings(images),
        base=training,
        compression=Compression(seed=machine.seed),
        device=machine.device,
    )
    common.train(request, output, "fine-tuning", "finetune", Path(model).name, images.data_set)
