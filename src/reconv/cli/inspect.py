"""`reconv inspect`: which channels are tied together, and which cannot go, and why."""

from __future__ import annotations

from typing import Annotated

from reconv.cli.fields import Given
from reconv.cli.options import InputShape, Network
from reconv.compression import CHOICE, Compression

EXAMPLES = (
    "reconv inspect resnet56",
    "reconv inspect torchvision:densenet121",
    "reconv inspect timm:resnet18 --data-set CIFAR10",
    "reconv inspect resnet56 --budget macs=0.5 --exclude 'layer3.*'",
    "reconv inspect torchvision:resnet50 --depth",
)


def command(
    network: Network,
    shape: InputShape = InputShape(),
    choice: Annotated[Given[Compression], *CHOICE] = Given(Compression()),
) -> None:
    """Groups of channels that can only be removed together, and why others are left alone.

    With --budget: what would be removed from every group, by the L2 norm of its weights. With --depth: the residual
    branches that may be removed as a whole, and why others stay.
    """
    from reconv.cli import console
    from reconv.cli.network import traced
    from reconv.errors import ConfigError
    from reconv.graph.branches import with_branches
    from reconv.plan import SCHEMES, choose
    from reconv.plan.queues import AS_OPTION
    from reconv.saliency import score
    from reconv.text import names_shown

    graph = traced(network, shape)
    out = console.stdout()
    if not {"--budget", "--max-drop"}.isdisjoint(choice.flags):
        how = choice.build({})
        if how.scheme not in SCHEMES:
            raise ConfigError(f"--scheme {how.scheme}: it needs images; give one of {', '.join(SCHEMES)}")
        assert how.budget is not None  # it was given
        plan = choose(graph, score(graph, "l2"), how.budget, **how.options_of(choose))
        out.print(str(plan), markup=False, soft_wrap=True)
        return
    if "--depth" in choice:
        branches = with_branches(graph).branches or ()
        able = [branch for branch in branches if not branch.reason]
        table = [(branch.name, len(branch.layers), branch.reason or "may be removed") for branch in branches]
        out.print(console.table("", ("residual branch", "layers", "state"), table, left=1))
        out.print(f"{len(branches)} branches, {len(able)} may be removed as a whole")
        return
    rows = []
    for group in graph.groups:
        free = int(group.free.sum())
        state = f"{group.state}; {AS_OPTION}" if group.stream and free else group.state
        rows.append((names_shown(group.producers) or group.name, state, group.size, free))
    out.print(console.table("", ("output channels of", "state", "channels", "may go"), rows, left=2))
    free = sum(row[3] for row in rows)
    out.print(
        f"{len(graph.layers)} layers, {len(rows)} groups, {sum(row[2] for row in rows):,} channels, {free:,} may go"
    )
    for note in graph.notes:
        out.print(f"note: {note}", markup=False, soft_wrap=True)
    for operator, times in graph.uncounted.items():
        out.print(f"note: {operator} multiplies {times} times outside of layers; MACs leave it out", markup=False)
