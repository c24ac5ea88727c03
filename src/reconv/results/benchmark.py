"""One network in several formats: runtime x arithmetic x batch x threads, with size and accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor, nn

from reconv.cost import Latency, file_size
from reconv.cost.timing import random_like
from reconv.data import DataSet
from reconv.deploy import TimedNetwork, batched, export, latencies_in, quantize, runtime_named
from reconv.errors import ReconvError
from reconv.graph import ChannelGraph
from reconv.results.deployed import READERS, FileNetwork
from reconv.runlog import RunLog
from reconv.training.predictions import predict

FLOAT, INT8 = "float32", "int8"


@dataclass(frozen=True)
class BenchmarkRow:
    """One format at one batch size and number of threads.

    Args:
        runtime: its name. precision: float32 or int8. batch: images per pass. threads: that compute.
        latency: seconds of a pass. size: bytes of the weights or the file.
        accuracy: share of the test images that are right; None: not measured.
    """

    runtime: str
    precision: str
    batch: int
    threads: int
    latency: Latency
    size: int
    accuracy: float | None


@dataclass(frozen=True)
class BenchmarkGrid:
    """What is measured.

    Args:
        runtimes: names. batches, threads: to combine with each. seconds: spent on each combination, about.
    """

    runtimes: tuple[str, ...]
    batches: tuple[int, ...] = (1, 64)
    threads: tuple[int, ...] = (1,)
    seconds: float = 3.0


def benchmark(
    graph: ChannelGraph, grid: BenchmarkGrid, log: RunLog, *, data: DataSet | None = None, images: Tensor | None = None
) -> tuple[BenchmarkRow, ...]:
    """Time a network in each runtime; in int8 too where there are images to calibrate on.

    Args:
        graph: of the network. grid: what is combined. log: is told; a runtime that fails is a note.
        data: whose test images accuracies are of; None: none. images: that int8 is calibrated on; None: no int8.
    """
    rows: list[BenchmarkRow] = []
    with TemporaryDirectory() as folder:
        files = _files(graph, Path(folder), images, log) if any(_runs_onnx(name) for name in grid.runtimes) else {}
        for runtime in grid.runtimes:
            formats: dict[str, Path | None] = dict(files) if _runs_onnx(runtime) else {FLOAT: None}
            with log.stage(runtime) as stage:
                try:
                    rows += _rows(graph, runtime, formats, grid, data)
                except ReconvError as error:
                    log.note(str(error))
                    continue
                stage.note = f"batches of {_listed(grid.batches)}, threads: {_listed(grid.threads)}"
    return tuple(rows)


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _runs_onnx(runtime: str) -> bool:
    return runtime_named(runtime)[0].runs_onnx


def _files(graph: ChannelGraph, folder: Path, images: Tensor | None, log: RunLog) -> dict[str, Path]:
    """The network as ONNX files."""
    files = {FLOAT: folder / "float.onnx"}
    with log.stage("export") as stage:
        written = export(
            graph.model, files[FLOAT], example=graph.inputs, images=None if images is None else images[:64]
        )
        stage.note = f"error {written.error:.1e} relative"
    if images is not None:
        files[INT8] = folder / "int8.onnx"
        with log.stage("quantize") as stage:
            made = quantize(graph.model, files[INT8], example=graph.inputs, images=images)
            stage.note = "" if made.agreement is None else f"{made.agreement:.1%} of predictions identical"
    return files


def _rows(
    graph: ChannelGraph, runtime: str, formats: dict[str, Path | None], grid: BenchmarkGrid, data: DataSet | None
) -> list[BenchmarkRow]:
    """One runtime; the formats interleaved."""
    accuracies = {name: _accuracy(graph.model, runtime, path, data) for name, path in formats.items()}
    sizes = {name: file_size(graph) if path is None else path.stat().st_size for name, path in formats.items()}
    contents = {name: None if path is None else path.read_bytes() for name, path in formats.items()}
    rows = []
    for threads in grid.threads:
        for batch in grid.batches:
            inputs = random_like(batched(graph.inputs, batch))
            networks = [TimedNetwork(graph.model, inputs, threads, file=content) for content in contents.values()]
            latencies = latencies_in(runtime, networks, seconds=grid.seconds)
            rows += [
                BenchmarkRow(runtime, name, batch, threads, latency, sizes[name], accuracies[name])
                for name, latency in zip(formats, latencies, strict=True)
            ]
    return rows


def _accuracy(model: nn.Module, runtime: str, path: Path | None, data: DataSet | None) -> float | None:
    if data is None:
        return None
    if path is None:
        return predict(model, data, "test").top1 if runtime_named(runtime)[0].name == "torch" else None
    reader = READERS.get(runtime_named(runtime)[0].name)
    return None if reader is None else predict(FileNetwork(path, model, reader), data, "test").top1
