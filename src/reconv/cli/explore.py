"""`reconv explore`: how much of a network can be pruned, and what that loses."""

from __future__ import annotations

from typing import Annotated

from reconv.cli.fields import Given
from reconv.cli.options import Data, Machine, Network, RunOutput
from reconv.compression import Compression

EXAMPLES = (
    "reconv explore resnet56 --weights W.safetensors --data-set CIFAR10",
    "reconv explore timm:resnet18 --weights pretrained --calibration PHOTOGRAPHS --cost macs --cost latency",
    "reconv explore resnet20 --data-set digits --measure 0.8,0.5 --save-path P",
)
_OPTIONS = ("criterion", "coupled", "limits", "timing", "depth", "images", "calibration", "after", "seed")


def command(
    network: Network,
    data: Given[Data] = Given(Data()),
    compression: Annotated[Given[Compression], *_OPTIONS] = Given(Compression()),
    cost: tuple[str, ...] = ("macs", "params"),
    measure: str = "0.85,0.7,0.5,0.35",
    machine: Machine = Machine(),
    output: RunOutput = RunOutput(),
) -> None:
    """What pruning a trained network loses at every size: predicted from error curves, measured at a few points.

    Args:
        cost: what is saved: macs, params, latency, size, memory; repeatable; networks are measured along the first.
        measure: shares of it that are left of the networks that are pruned, repaired and measured.
    """
    from reconv import runs
    from reconv.cli import common, console
    from reconv.errors import ConfigError
    from reconv.frontier.compute import DEFAULT
    from reconv.frontier.exploration import frontier_table, sensitivity_table

    common.check_one_process("explore")
    images, given = common.images_or_calibration(data, compression)
    start = {"criterion": DEFAULT.criterion, "scheme": DEFAULT.scheme, "after": ["repair"]}
    request = common.run_config(network, images, machine.device, compression=given.build(start))
    if not runs.is_trained(request):
        raise ConfigError(f"{network.model}: its weights would be random; give --weights F, or a saved network")
    folder = common.output_path(output, "explore", network.model, images.data_set)
    options = common.run_options(output, console.Progress())
    with console.resumable(folder):
        found = runs.explore_into(request, folder, options, costs=cost, measure=_shares(measure))
    out = console.stdout()
    for title, header, rows in (*(frontier_table(found, name) for name in found.frontiers), sensitivity_table(found)):
        out.print(console.table(title, header, rows))
    out.print(f"page    {folder / 'explore.html'}", markup=False, soft_wrap=True)
    out.print(f"json    {folder / 'explore.json'}", markup=False, soft_wrap=True)


def _shares(text: str) -> tuple[float, ...]:
    """Shares, separated by commas.

    Raises:
        ConfigError: anything else.
    """
    from reconv.errors import ConfigError

    try:
        shares = tuple(float(part.strip().removesuffix("%")) / (100 if "%" in part else 1) for part in text.split(","))
    except ValueError:
        shares = ()
    if not shares or not all(0 < share < 1 for share in shares):
        raise ConfigError(f"--measure {text!r}; give shares between 0 and 1, separated by commas, such as 0.85,0.7,0.5")
    return shares
