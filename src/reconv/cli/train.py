"""`reconv train`: a network from scratch, or further, as the paper's `train_*.py` do."""

from __future__ import annotations

from reconv.cli import options

EXAMPLES = (
    "reconv train --model resnet20 --data-set digits --save-path P",
    "reconv train --model resnet56 --data-set CIFAR10 --protocol paper-base --save-path P",
    "reconv train --model vgg16_bn --data-set CIFAR100 --protocol modern --set ema=0.999 --set mixup=0.2 --save-path P",
    "reconv train --model resnet20 --data-set CIFAR10 --protocol fast --tracker tensorboard --save-path P",
)


def command(
    model: options.Model,
    weights: options.Weights = None,
    shortcut: options.Shortcut = None,
    data_set: options.DataSet = "CIFAR10",
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
    """Train a network; the last epoch's is kept, and tested once.

    Under `torchrun` or `accelerate launch` several processes share every batch.
    """
    from reconv.cli import common, schooling
    from reconv.compression import Compression
    from reconv.runs import RunConfig
    from reconv.steps import TrainConfig

    config = RunConfig(
        model=model,
        weights=common.given_weights(weights),
        arguments=common.model_arguments(shortcut),
        data_set=data_set,
        data_root=common.text(data_root),
        base=common.schooling(
            TrainConfig, protocol or "default", epochs, batch_size, changes, compiled=compiled, teacher=teacher
        ),
        compression=Compression(seed=seed),
        device=device,
    )
    folder = common.output_path(save_path, resume, "train", model, data_set)
    schooling.school(config, folder, "training", overwrite=overwrite, resume=resume, trackers=tracker)
