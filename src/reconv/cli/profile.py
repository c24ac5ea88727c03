"""`reconv profile`: what a network costs, as the paper's `compute_flops.py` counts it."""

from __future__ import annotations

from reconv.cli.options import InputShape, Machine, Network

EXAMPLES = (
    "reconv profile resnet56",
    "reconv profile timm:mobilenetv3_small_100 --image-size 160",
    "reconv profile P/model --data-set CIFAR10 --latency",
)


def command(
    network: Network, shape: InputShape = InputShape(), latency: bool = False, machine: Machine = Machine()
) -> None:
    """Multiply-accumulates (one fused multiply-add is one) and parameters, layer by layer; memory and file size.

    Args:
        latency: also time forward passes, with 1 and 64 images.
    """
    from reconv.cli import console
    from reconv.cli.network import traced
    from reconv.cost import file_size, measure_latency, peak_memory, profile
    from reconv.report import numbers

    graph = traced(network, shape, machine.device)
    cost = profile(graph)
    out = console.stdout()
    rows = [
        (row.name, f"{row.in_channels} -> {row.out_channels}", f"{row.macs:,}", f"{row.parameters:,}")
        for row in cost.layers
    ]
    out.print(console.table("", ("layer", "channels", "MACs", "parameters"), rows))
    out.print(f"MACs        {cost.macs:,} ({numbers.count(cost.macs)}) per image")
    out.print(f"parameters  {cost.parameters:,} ({numbers.count(cost.parameters)})")
    memory, file = peak_memory(graph), file_size(graph)
    out.print(f"memory      {memory:,} bytes ({numbers.size(memory)}) of activations at the peak, for one image")
    out.print(f"file        {file:,} bytes ({numbers.size(file)}) of weights, saved")
    if cost.products:
        macs = sum(product.macs for product in cost.products)
        names = ", ".join(sorted({product.operator for product in cost.products}))
        out.print(f"of which    {macs:,} MACs outside of convolutions and linear layers ({names})", markup=False)
    for name, times in cost.uncounted.items():
        out.print(f"not counted {name}, {times} times", markup=False)
    if latency:
        for batch in (1, 64):
            images = graph.inputs.expand(batch, *graph.inputs.shape[1:]).contiguous()
            (measured,) = measure_latency([graph.model], images)
            low, high = numbers.duration(measured.low), numbers.duration(measured.high)
            count, time = numbers.counted(batch, "image"), numbers.duration(measured.median)
            out.print(f"latency     {time} with {count} (quartiles {low}, {high})")
