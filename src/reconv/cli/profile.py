"""`reconv profile`: what a network costs, as the paper's `compute_flops.py` counts it."""

from __future__ import annotations

from typing import Annotated

import typer

from reconv.cli import options

EXAMPLES = (
    "reconv profile --model resnet56",
    "reconv profile --model timm:mobilenetv3_small_100 --image-size 160",
    "reconv profile --model P/model --data-set CIFAR10 --latency",
)

TimeIt = Annotated[bool, typer.Option("--latency", help="Also time forward passes, with 1 and 64 images.")]


def command(
    model: options.Model,
    weights: options.Weights = None,
    shortcut: options.Shortcut = None,
    data_set: options.ShapeOf = None,
    image_size: options.ImageSize = None,
    latency: TimeIt = False,
    device: options.Device = "auto",
) -> None:
    """Multiply-accumulates (one fused multiply-add is one) and parameters, layer by layer; memory and file size."""
    from reconv.cli import console, network
    from reconv.cost import file_size, measure_latency, peak_memory
    from reconv.cost import profile as count
    from reconv.report import numbers

    graph = network.traced(model, weights, shortcut, data_set, image_size, device)
    found = count(graph)
    out = console.stdout()
    rows = [
        (row.name, f"{row.in_channels} -> {row.out_channels}", f"{row.macs:,}", f"{row.parameters:,}")
        for row in found.layers
    ]
    out.print(console.table("", ("layer", "channels", "MACs", "parameters"), rows))
    out.print(f"MACs        {found.macs:,} ({numbers.count(found.macs)}) an image")
    out.print(f"parameters  {found.parameters:,} ({numbers.count(found.parameters)})")
    memory, file = peak_memory(graph), file_size(graph)
    out.print(f"memory      {memory:,} bytes ({numbers.size(memory)}) of activations at the widest moment, one image")
    out.print(f"file        {file:,} bytes ({numbers.size(file)}) of weights, saved")
    for name, times in found.uncounted.items():
        out.print(f"not counted {name}, {times} times", markup=False)
    if latency:
        for batch in (1, 64):
            images = graph.inputs.expand(batch, *graph.inputs.shape[1:]).contiguous()
            (seen,) = measure_latency([graph.model], images)
            low, high = numbers.duration(seen.low), numbers.duration(seen.high)
            out.print(f"latency     {numbers.duration(seen.median)} with {batch} images (quartiles {low}, {high})")
