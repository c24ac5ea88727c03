"""`reconv train`: a network from scratch, or further, as the paper's `train_*.py` do."""

from __future__ import annotations

from reconv.cli import options

EXAMPLES = (
    "reconv train --model resnet20 --data-set digits --save-path P",
    "reconv train --model resnet56 --data-set CIFAR10 --protocol paper-base --save-path P",
    "reconv train --model vgg16_bn --data-set CIFAR100 --protocol modern --epochs 50 --save-path P",
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
    seed: options.Seed = 0,
    device: options.Device = "auto",
    save_path: options.SavePath = None,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
) -> None:
    """Train a network; the last epoch's is kept."""
    from reconv.cli import common, schooling
    from reconv.pipeline import RunConfig, Schooling

    config = RunConfig(
        model=model,
        weights=common.text(weights),
        arguments=common.model_arguments(shortcut),
        data_set=data_set,
        data_root=common.text(data_root),
        finetune=Schooling(protocol or "default", epochs, batch_size),
        seed=seed,
        device=device,
    )
    folder = common.output_path(save_path, resume, "train", model, data_set)
    schooling.school(config, folder, "training", overwrite=overwrite, resume=resume)
