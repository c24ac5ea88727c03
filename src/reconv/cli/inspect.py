"""`reconv inspect`: which channels are tied together, and which cannot go, and why."""

from __future__ import annotations

from typing import Annotated

import typer

from reconv.cli import options

EXAMPLES = (
    "reconv inspect resnet56",
    "reconv inspect torchvision:densenet121",
    "reconv inspect timm:resnet18 --data-set CIFAR10",
    "reconv inspect resnet56 --budget macs=0.5 --exclude 'layer3.*'",
)

Model = Annotated[str | None, typer.Argument(help="A model by name, or a saved one by path; as --model takes it.")]
ModelOption = Annotated[str | None, typer.Option("--model", "-m", help="The same, by option.")]


def command(
    name: Model = None,
    model: ModelOption = None,
    weights: options.Weights = None,
    shortcut: options.Shortcut = None,
    data_set: options.ShapeOf = None,
    image_size: options.ImageSize = None,
    budget: options.BudgetOption = None,
    scheme: options.Scheme = "uniform",
    coupled: options.Coupled = False,
    minimum: options.Minimum = 1,
    multiple: options.Multiple = 1,
    limit: options.Limit = None,
    exclude: options.Exclude = None,
) -> None:
    """Groups of channels that can only be removed together, and why others are left alone.

    With --budget: what would be asked of every group and what it would give, by the L2 norm of its weights.
    """
    from reconv.cli import console, network
    from reconv.errors import ConfigError
    from reconv.graph import ChannelGraph
    from reconv.plan import SCHEMES, Budget, Limits, choose, names_shown
    from reconv.saliency import score

    if (name is None) == (model is None):
        raise ConfigError(
            f"model: {'none' if name is None else 'two'} given; give one, as in `reconv inspect resnet56`"
        )
    graph: ChannelGraph = network.traced(name or model or "", weights, shortcut, data_set, image_size)
    out = console.stdout()
    if budget:
        limits = Limits.parse(minimum, multiple, limit or (), exclude or ())
        if scheme not in SCHEMES:
            raise ConfigError(f"--scheme {scheme}: it looks at images; give one of {', '.join(SCHEMES)}")
        plan = choose(graph, score(graph, "l2"), Budget.parse(budget), scheme=scheme, coupled=coupled, limits=limits)
        out.print(str(plan), markup=False, soft_wrap=True)
        return
    rows = []
    for group in graph.groups:
        free = int(group.free.sum())
        cut = "; cut with --coupled" if group.stream and free else ""
        rows.append((names_shown(group.producers) or group.name, group.state + cut, group.size, free))
    out.print(console.table("", ("output channels of", "state", "channels", "may go"), rows, left=2))
    free = sum(row[3] for row in rows)
    out.print(
        f"{len(graph.layers)} layers, {len(rows)} groups, {sum(row[2] for row in rows):,} channels, {free:,} may go"
    )
    for note in graph.notes:
        out.print(f"note: {note}", markup=False, soft_wrap=True)
    for operator, times in graph.uncounted.items():
        out.print(f"note: {operator} multiplies {times} times outside of layers; MACs leave it out", markup=False)
