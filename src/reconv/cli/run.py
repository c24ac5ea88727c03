"""`reconv run`: the whole way, from a network to a smaller one with a report."""

from __future__ import annotations

from reconv.cli.fields import Given
from reconv.cli.options import Data, Machine, Network, RunOutput
from reconv.compression import Compression
from reconv.steps import TrainConfig

EXAMPLES = (
    "reconv run",
    "reconv run resnet20 --budget macs=0.3 --scheme global --criterion l1",
    "reconv run --budget macs=0.2 --rounds 4 --criterion reconstruction --scheme allocated",
    "reconv run resnet56 --weights W.safetensors --data-set CIFAR10 --criterion nuclear --recipe 2 --epochs 1",
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
    from reconv.cli import common, console

    common.check_one_process("run")
    images, compression = common.images_or_calibration(data, compression)
    chosen = common.compression_of(
        compression, images, config, repair=common.repairs_by_default(images), finetune=common.is_labelled(images)
    )
    request = common.run_config(network, images, machine.device, base=base, compression=chosen)
    result = common.run(request, output, measure=True)
    out = console.stdout()
    out.print(console.before_and_after(result.facts.before, result.facts.after))
    for row in result.facts.runtimes:
        of_budget = ", which the budget refers to" if row.is_budget else ""
        out.print(f"in {row.text}{of_budget}", markup=False, soft_wrap=True)
    for file in result.facts.exported:
        out.print(f"file    {file.path} ({file.precision})", markup=False, soft_wrap=True)
    out.print(f"report  {result.folder / 'report.html'}", markup=False, soft_wrap=True)
    out.print(f"model   {result.folder / 'model'}", markup=False, soft_wrap=True)
