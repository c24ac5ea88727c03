"""`reconv inspect`: which channels are tied together, and which cannot go, and why."""

from __future__ import annotations

from reconv.cli import options

EXAMPLES = (
    "reconv inspect --model resnet56 --data-set CIFAR10",
    "reconv inspect --model torchvision:densenet121 --data-set imagenet",
)


def command(
    model: options.Model,
    weights: options.Weights = None,
    shortcut: options.Shortcut = None,
    data_set: options.ShapeOf = "CIFAR10",
    image_size: options.ImageSize = None,
) -> None:
    """Groups of channels that can only be removed together, and why others are left alone."""
    from reconv.cli import console, network

    graph = network.traced(model, weights, shortcut, data_set, image_size)
    out = console.stdout()
    rows = []
    for group in graph.groups:
        free = int(group.free.sum())
        why = group.reason or ("; ".join(dict.fromkeys(group.reasons.values())) if group.reasons else "")
        what = why or ("residual stream: cut with --coupled" if group.stream else "free")
        rows.append((", ".join(group.producers) or group.name, what, group.size, free))
    out.print(console.table("", ("output channels of", "state", "channels", "may go"), rows, left=2))
    free = sum(row[3] for row in rows)
    out.print(
        f"{len(graph.layers)} layers, {len(rows)} groups, {sum(row[2] for row in rows):,} channels, {free:,} may go"
    )
