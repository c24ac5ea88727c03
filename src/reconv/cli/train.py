"""`reconv train`: a network from scratch, or further, as the paper's `train_*.py` do."""

from __future__ import annotations

from reconv.cli.options import Data, Network, RunOutput, SeededMachine
from reconv.compression import Compression
from reconv.steps import TrainConfig

EXAMPLES = (
    "reconv train resnet20 --data-set digits --save-path P",
    "reconv train resnet56 --data-set CIFAR10 --protocol paper-base --save-path P",
    "reconv train vgg16_bn --data-set CIFAR100 --protocol modern --set ema=0.999 --set mixup=0.2 --save-path P",
    "reconv train resnet20 --data-set CIFAR10 --protocol fast --tracker tensorboard --save-path P",
)


def command(
    network: Network,
    data: Data = Data(),
    training: TrainConfig = TrainConfig(),
    machine: SeededMachine = SeededMachine(),
    output: RunOutput = RunOutput(),
) -> None:
    """Train a network; the last epoch's is kept, and tested once.

    Under `torchrun` or `accelerate launch` several processes share every batch.
    """
    from reconv.cli import common
    from reconv.runs import RunConfig

    request = RunConfig(
        model=network.model,
        weights=common.given_weights(network.weights),
        arguments=common.model_arguments(network),
        **common.data_settings(data),
        base=training,
        compression=Compression(seed=machine.seed),
        device=machine.device,
    )
    common.train(request, output, "training", "train", network.model, data.data_set)
