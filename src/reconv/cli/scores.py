"""What `reconv saliency` does with scores: compute, show, compare, save, draw."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from scipy.stats import kendalltau

from reconv.artifacts import save_saliency
from reconv.cli import console
from reconv.errors import ConfigError
from reconv.files import write_atomically
from reconv.folders import check_replaceable, folder_at_once
from reconv.graph import ChannelGraph
from reconv.graph.channels import Layer
from reconv.report import LayerFacts, numbers, render_scores
from reconv.saliency import Direction, Saliency, criterion_named, score_all
from reconv.select import read_scores

TOLERANCE = 1e-5  # requested of each value; layers that miss it are named


def criteria(names: Sequence[str]) -> list[str]:
    """The criteria's own names, each once; refuses unknown ones before any work."""
    rows = dict.fromkeys(criterion_named(name) for name in names)
    for row in rows:
        if not row.needs.isdisjoint(("moments", "gradients")):
            raise ConfigError(
                f"criterion: {row.name} needs {', '.join(sorted(row.needs))}, and this command has weights alone; "
                "give it to reconv run or reconv prune"
            )
    return [row.name for row in rows]


def check_outputs(save_path: Path | None, plot: Path | None, overwrite: bool) -> None:
    """Refuse outputs that could not be written, before any work."""
    if save_path is not None:
        check_replaceable(save_path, overwrite=overwrite)
    if plot is not None and plot.exists() and not overwrite:
        raise ConfigError(f"{plot}: exists; give another file, or --overwrite to replace it")


def compute(
    graph: ChannelGraph, wanted: Sequence[str], direction: Direction, *, exact: bool, seed: int
) -> tuple[list[Saliency], float]:
    """All criteria at once, and the seconds that took."""
    progress = console.Progress()
    progress.begin("score channels", has_own_bar=False)
    try:
        start = time.perf_counter()
        scores = score_all(
            graph,
            wanted,
            direction=direction,
            exact=exact,
            tol=TOLERANCE,
            seed=seed,
        )
        return scores, time.perf_counter() - start
    finally:
        progress.end(None)


def table(graph: ChannelGraph, scores: Sequence[Saliency]) -> Table:
    """A row a layer and criterion: geometry, algorithm, smallest, median and largest score, largest error estimate."""
    rows = []
    for layer in graph.layers:
        name, geometry = layer.name, _short(layer)
        for saliency in scores:
            values = saliency.values.get(layer.name)
            if values is None:
                continue
            algorithms = ", ".join(dict.fromkeys(saliency.algorithms.get(layer.name, ())))
            errors = saliency.errors.get(layer.name)
            error = "" if errors is None else f"{float(errors.max()):.0e}"
            figures = (f"{float(value):.4g}" for value in (values.min(), values.median(), values.max()))
            rows.append((name, geometry, saliency.criterion, algorithms, len(values), *figures, error))
            name = geometry = ""
    columns = ("layer", "geometry", "criterion", "algorithm", "channels", "min", "median", "max", "largest error")
    return console.table("", columns, rows, left=4)


def _short(layer: Layer) -> str:
    """A geometry in a few letters: kernel, map, and the stride where it is not 1."""
    seen = layer.geometry
    if seen is None or layer.kind == "linear":
        return layer.kind
    stride = "" if max(seen.stride) == 1 else f", stride {max(seen.stride)}"
    return f"{seen.kernel[0]}x{seen.kernel[1]} on {seen.input_size[0]}x{seen.input_size[1]}{stride}"


def summary(graph: ChannelGraph, scores: Sequence[Saliency], seconds: float) -> str:
    """Seconds, and where the tolerance was missed."""
    channels = sum(len(values) for values in scores[0].values.values())
    lines = [f"{channels:,} channels of {len(scores[0].values)} layers in {numbers.duration(seconds)}"]
    missed = [
        f"{name} ({saliency.criterion}, {float(errors.max()):.0e})"
        for saliency in scores
        for name, errors in saliency.errors.items()
        if float(errors.max()) > TOLERANCE
    ]
    if missed:
        lines.append(f"relative error above {TOLERANCE:g}: {', '.join(missed)}; --exact computes these densely")
    return "\n".join(lines)


def compare(graph: ChannelGraph, scores: Sequence[Saliency], file: Path) -> Table:
    """Kendall's tau of each layer's scores with those of a file.

    Raises:
        ConfigError: the file's criterion is not among those computed, or its layers are not the model's.
    """
    other = read_scores(file, graph.model)
    criterion = other.criterion
    ours = next((s for s in scores if s.criterion == criterion), scores[0] if len(scores) == 1 else None)
    if ours is None:
        raise ConfigError(
            f"{file}: holds {criterion} scores; give --criterion {criterion}, or a single --criterion to compare with"
        )
    if other.weights and other.weights != ours.weights:
        console.Progress().note(f"{file}: scores of other weights than these.")
    rows = []
    for name, values in other.values.items():
        mine = ours.values.get(name)
        if mine is None or len(mine) != len(values):
            here = "no such layer" if mine is None else f"{len(mine)} channels"
            raise ConfigError(
                f"{file}: {len(values)} scores of {name}, the model has {here}; give the model's own file"
            )
        rows.append((name, len(values), f"{kendalltau(mine.cpu(), values.cpu()).statistic:.4f}"))
    mean = sum(float(row[2]) for row in rows) / max(len(rows), 1)
    return console.table(
        f"Kendall's tau of {ours.criterion} with {file.name} ({criterion}); mean {mean:.4f}",
        ("layer", "channels", "tau"),
        rows,
    )


def save(scores: Sequence[Saliency], folder: Path, overwrite: bool) -> None:
    """One file a criterion, in a folder that appears complete or not at all."""
    with folder_at_once(folder, overwrite=overwrite) as folder_beside:
        for saliency in scores:
            save_saliency(saliency, folder_beside / f"{saliency.criterion}.safetensors")


def plot(graph: ChannelGraph, scores: Sequence[Saliency], file: Path, title: str) -> None:
    """Each layer's scores as bars, one HTML file."""
    by_criterion = {
        saliency.criterion: [
            LayerFacts(
                layer.name,
                str(layer.geometry or layer.kind),
                layer.out_channels,
                layer.out_channels,
                tuple(saliency.values[layer.name].tolist()),
                (True,) * len(saliency.values[layer.name]),
            )
            for layer in graph.layers
            if layer.name in saliency.values
        ]
        for saliency in scores
    }
    write_atomically(file, render_scores(title, by_criterion))
