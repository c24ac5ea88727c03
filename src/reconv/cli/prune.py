"""`reconv prune`: prune a trained network, and fine-tune it, as the paper's `prune_*.py` do."""

from __future__ import annotations

from reconv.cli.fields import Given
from reconv.cli.first_line import say_what_comes
from reconv.cli.options import Data, Machine, Network, RunOutput
from reconv.compression import Compression

EXAMPLES = (
    "reconv prune resnet56 --weights W.safetensors --data-set CIFAR10 --criterion nuclear --recipe 1 --save-path P",
    "reconv prune resnet34 --weights W.pth --data-set imagenet --criterion spectral --recipe 2 --save-path P",
    "reconv prune my_net.py:MyNet --weights W.pth --data-set IMAGES --budget macs=50%",
    "reconv prune P/model --data-set digits --budget macs=0.7 --no-finetune",
    "reconv prune detector.onnx --calibration photographs/ --budget macs=0.7 --save-path P",
)


def command(
    network: Network,
    data: Given[Data] = Given(Data()),
    compression: Given[Compression] = Given(Compression()),
    machine: Machine = Machine(),
    output: RunOutput = RunOutput(),
) -> None:
    """Prune a trained network by its scores; without other options, a CIFAR network is fine-tuned, none is repaired."""
    say_what_comes(network.model, data.build(), compression, output, "prune")

    from reconv.cli import common, console
    from reconv.data import canonical_data_set
    from reconv.errors import ConfigError
    from reconv.runs import is_trained
    from reconv.zoo import find_model

    common.check_one_process("prune")
    if {"--budget", "--max-drop", "--recipe"}.isdisjoint(compression.flags):
        raise ConfigError("reconv prune: how much? Give --budget macs=0.5, --max-drop 1, or --recipe 1")
    from_onnx = find_model(network.model)[0].name == "onnx"  # a network without training code, and with a file
    repair, export = (
        not {"--calibration", "--max-drop"}.isdisjoint(compression.flags),
        "model.onnx" if from_onnx else None,
    )
    if from_onnx:  # its input need not be a square; calibration images are fitted to any shape
        images = data.build()
    else:
        images, compression = common.images_or_calibration(data, compression)
    finetune = canonical_data_set(images.data_set) != "imagenet" and not from_onnx and common.is_labelled(images)
    chosen = common.compression_of(compression, images, repair=repair, finetune=finetune, export=export)
    request = common.run_config(network, images, machine.device, compression=chosen)
    if not is_trained(request):
        raise ConfigError(
            f"{network.model}: its weights would be random; give --weights F, or a saved model, or use `reconv run`"
        )
    is_named = not from_onnx or "--data-set" in data or "--task" in data  # a file says nothing of CIFAR's images
    result = common.run(request, output, measure=is_named and common.are_there(images))
    out = console.stdout()
    out.print(str(result.plan), markup=False, soft_wrap=True)
    console.summary(result.facts, result.folder, common.next_command(result, network))
    common.check_certified(result)
