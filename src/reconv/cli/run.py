"""`reconv run`: the whole way, from a network to a smaller one with a report."""

from __future__ import annotations

from reconv.cli.fields import Given
from reconv.cli.first_line import say_what_comes
from reconv.cli.options import Data, Machine, Network, RunOutput
from reconv.cli.spelling import RANDOM
from reconv.compression import Compression
from reconv.steps import TrainConfig

EXAMPLES = (
    "reconv run",
    "reconv run my_net.py:MyNet --weights W.pth --data-set IMAGES --budget macs=50%",
    "reconv run my_net.py:MyNet --task my_task.py --budget latency=0.5",
    "reconv run resnet20 --budget latency=0.7 --runtime onnxruntime --export",
    "reconv run P --data-set CIFAR10 --max-drop 1 --minimize macs",
    "reconv run timm:resnet18 --weights pretrained --calibration PHOTOGRAPHS",
    "reconv run resnet56 --weights W.safetensors --data-set CIFAR10 --recipe 2",
)


def command(
    network: Network = Network("resnet20"),
    data: Given[Data] = Given(Data("digits")),
    compression: Given[Compression] = Given(Compression()),
    config: str | None = None,
    base: TrainConfig = TrainConfig("default"),
    machine: Machine = Machine(),
    output: RunOutput = RunOutput(),
) -> None:
    """Train (where no weights are given), score, prune, repair, fine-tune, test, and report.

    Without any option: ResNet-20 on scikit-learn's digits, pruned to half its MACs by the nuclear norm.

    Args:
        config: TOML or JSON file with options of pruning, such as `budget = "macs=0.3"`; those typed here count more.
    """
    steps = "prune" if network.weights not in (None, *RANDOM) else "train if it must be, prune"
    say_what_comes(network.model, data.build(), compression, output, steps)

    from reconv.cli import common, console

    common.check_one_process("run")
    images, compression = common.images_or_calibration(data, compression)
    chosen = common.compression_of(compression, images, config, repair=True, finetune=common.is_labelled(images))
    request = common.run_config(network, images, machine.device, base=base, compression=chosen)
    result = common.run(request, output, measure=True)
    console.summary(result.facts, result.folder, common.next_command(result, network))
    common.check_certified(result)
