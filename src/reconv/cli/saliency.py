"""`reconv saliency`: every channel's scores, as the paper's `compute_saliency.py` gives them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reconv.cli import names, options

EXAMPLES = (
    "reconv saliency --model resnet56 --weights W.safetensors --data-set CIFAR10 --save-path scores",
    "reconv saliency --model resnet56 --weights W.safetensors --metric nuc --compare resnet56_cifar10_model_nucs.py",
    "reconv saliency --model resnet56 --weights W.safetensors --metric spec --metric l1 --exact --plot scores.html",
)

Metrics = Annotated[
    list[str] | None,
    typer.Option(
        "--metric",
        help="A criterion; several may be given.",
        autocompletion=names.offer(names.METRICS),
        show_default="spec, nuc and fro",
    ),
]
Compare = Annotated[
    Path | None,
    typer.Option("--compare", help="Saved scores, ours or a published file: prints Kendall's tau of each layer."),
]
Plot = Annotated[Path | None, typer.Option("--plot", help="Draw each layer's scores into this HTML file.")]


def command(
    model: options.Model,
    weights: options.Weights = None,
    shortcut: options.Shortcut = None,
    data_set: options.ShapeOf = None,
    image_size: options.ImageSize = None,
    metric: Metrics = None,
    direction: options.Direction = "forward",
    exact: options.Exact = False,
    compare: Compare = None,
    plot: Plot = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    save_path: options.SavePath = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Score every output channel of a trained network; all three norms of the paper if not told otherwise."""
    from reconv.cli import console, network, scores

    wanted = scores.criteria(metric or ["spectral", "nuclear", "frobenius"], direction)
    out = console.stdout()
    scores.check_outputs(save_path, plot, overwrite)
    graph = network.traced(model, weights, shortcut, data_set, image_size, device, trained=True)
    found, seconds = scores.compute(graph, wanted, direction, exact=exact, seed=seed)
    taus = None if compare is None else scores.compare(graph, found, compare)
    out.print(scores.table(graph, found))
    out.print(scores.summary(graph, found, seconds), markup=False, soft_wrap=True)
    if taus is not None:
        out.print(taus)
    if save_path is not None:
        scores.save(found, save_path, overwrite)
        out.print(f"scores  {save_path}", markup=False, soft_wrap=True)
    if plot is not None:
        scores.plot(graph, found, plot, model)
        out.print(f"plot    {plot}", markup=False, soft_wrap=True)
