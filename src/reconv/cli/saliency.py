"""`reconv saliency`: every channel's scores, as the paper's `compute_saliency.py` gives them."""

from __future__ import annotations

from pathlib import Path

from reconv.cli.options import InputShape, Network, Output, SeededMachine
from reconv.compression import Direction

EXAMPLES = (
    "reconv saliency resnet56 --weights W.safetensors --data-set CIFAR10 --save-path scores",
    "reconv saliency resnet56 --weights W.safetensors --criterion nuclear --compare resnet56_cifar10_model_nucs.py",
    "reconv saliency resnet56 --weights W.safetensors --criterion spectral --criterion l1 --exact --plot scores.html",
)


def command(
    network: Network,
    shape: InputShape = InputShape(),
    criterion: tuple[str, ...] = ("spectral", "nuclear", "frobenius"),
    direction: Direction = "forward",
    exact: bool = False,
    compare: str | None = None,
    plot: str | None = None,
    machine: SeededMachine = SeededMachine(),
    output: Output = Output(),
) -> None:
    """Score every output channel of a trained network; without --criterion, by all three norms of the paper.

    Args:
        criterion: a rule that scores channels (`reconv list criteria`); repeatable.
        direction: forward scores a channel by the kernels that make it, backward by those that read it.
        exact: compute norms by the dense reference algorithm.
        compare: saved scores, ours or a published file; prints Kendall's tau of each layer.
        plot: draw each layer's scores into this HTML file.
    """
    from reconv.cli import console, scores
    from reconv.cli.network import traced

    criteria = scores.criteria(criterion)
    folder = None if output.save_path is None else Path(output.save_path)
    file = None if plot is None else Path(plot)
    out = console.stdout()
    scores.check_outputs(folder, file, output.overwrite)
    graph = traced(network, shape, machine.device, trained=True)
    scored, seconds = scores.compute(graph, criteria, direction, exact=exact, seed=machine.seed)
    taus = None if compare is None else scores.compare(graph, scored, Path(compare))
    out.print(scores.table(graph, scored))
    out.print(scores.summary(graph, scored, seconds), markup=False, soft_wrap=True)
    if taus is not None:
        out.print(taus)
    if folder is not None:
        scores.save(scored, folder, output.overwrite)
        out.print(f"scores  {folder}", markup=False, soft_wrap=True)
    if file is not None:
        scores.plot(graph, scored, file, network.model)
        out.print(f"plot    {file}", markup=False, soft_wrap=True)
