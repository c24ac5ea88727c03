"""`reconv finetune`: train a pruned network on, as the paper's `finetune_resnet34.py` does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reconv.cli import options

EXAMPLES = (
    "reconv finetune --refine P --data-set imagenet --data-root DATA --save-path Q",
    "reconv finetune --refine P DATA --protocol paper-imagenet --save-path Q",
    "reconv finetune --refine P/model --data-set CIFAR10 --protocol short --teacher P/base --save-path Q",
)

Refine = Annotated[
    Path, typer.Option("--refine", help="A saved network, or the folder of a run.", rich_help_panel="Model")
]
Data = Annotated[Path | None, typer.Argument(help="A folder of images with train/ and val/, instead of --data-set.")]


def command(
    refine: Refine,
    data: Data = None,
    data_set: Annotated[
        str | None,
        typer.Option("--data-set", "-d", help="digits, CIFAR10, CIFAR100, imagenet, or a folder of images."),
    ] = None,
    data_root: options.DataRoot = None,
    protocol: options.Protocol = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    changes: options.Set = None,
    compiled: options.Compile = False,
    teacher: options.Teacher = None,
    tracker: options.Tracker = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    save_path: options.SavePath = None,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
) -> None:
    """Train a saved network on, with a small learning rate; the last epoch's is kept, and tested once.

    Under `torchrun` or `accelerate launch` several processes share every batch.
    """
    from reconv.cli import common, schooling
    from reconv.compression import Compression
    from reconv.errors import ConfigError
    from reconv.runs import RunConfig
    from reconv.steps import TrainConfig

    if (data is None) == (data_set is None):
        raise ConfigError("images: give either a folder DATA or --data-set NAME")
    config = RunConfig(
        model=str(refine),
        data_set=data_set or str(data),
        data_root=common.text(data_root),
        base=common.schooling(
            TrainConfig, protocol or "default-finetune", epochs, batch_size, changes, compiled=compiled, teacher=teacher
        ),
        compression=Compression(seed=seed),
        device=device,
    )
    folder = common.output_path(save_path, resume, "finetune", refine.name, config.data_set)
    schooling.school(config, folder, "fine-tuning", overwrite=overwrite, resume=resume, trackers=tracker)
