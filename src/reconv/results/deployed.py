"""What a compression gives where it is deployed: latency in each runtime asked for, and int8 on the tested images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from reconv.budget import LatencyConfig
from reconv.cost.timing import random_like
from reconv.data import DataSet, SplitName
from reconv.deploy import Exported, TimedNetwork, batched, latencies_in, read_onnx, read_openvino, runtime_named
from reconv.errors import ReconvError
from reconv.provenance import attach, provenance_of
from reconv.report import ExportedFile, NetworkAccuracy, RuntimeLatency
from reconv.runlog import RunLog
from reconv.significance import Replicates
from reconv.training.predictions import Predictions, predict

Reader: TypeAlias = Callable[[Path], Callable[..., Any]]
READERS: Mapping[str, Reader] = {"onnxruntime": read_onnx, "openvino": read_openvino}  # of ONNX files, by runtime

BEFORE, AFTER, INT8 = "before", "after", "after, int8"
_SECONDS = 10.0  # spent on each runtime, about
_OF_INT8 = "onnxruntime"  # that int8 is timed in where no runtime is named


@dataclass(frozen=True)
class Deployed:
    """Where the network runs.

    Args:
        files: that it was exported to. runtimes: latency in each that was asked for.
        accuracies: of original, pruned and int8, on the same images; none where there is no int8 file.
    """

    files: tuple[ExportedFile, ...] = ()
    runtimes: tuple[RuntimeLatency, ...] = ()
    accuracies: tuple[NetworkAccuracy, ...] = ()


class FileNetwork(nn.Module):
    """What an ONNX file computes, as a module.

    Args:
        path: of the file. like: the network that it was made from, which says how its images are normalized.
        read: the reader, by which a runtime computes it.
    """

    def __init__(self, path: Path, like: nn.Module, read: Reader = read_onnx) -> None:
        super().__init__()
        self._run = read(path)
        attach(self, provenance_of(like))

    def forward(self, x: Tensor) -> Tensor:
        """Its first output."""
        outputs: list[Tensor] = self._run(x.contiguous())
        return outputs[0]


def int8_of(files: Sequence[Exported]) -> Exported | None:
    """The int8 file among those that were written."""
    return next((file for file in reversed(files) if file.precision == "int8"), None)


def latency_in_runtimes(
    models: tuple[nn.Module, nn.Module],
    example: Any,
    config: LatencyConfig,
    files: Sequence[Exported],
    log: RunLog,
    *,
    budgeted: bool,
) -> tuple[RuntimeLatency, ...]:
    """Time the networks in each runtime, interleaved; a runtime that fails is a note.

    Args:
        models: before and after. example: an input. config: the runtimes. files: that the second was written to.
        log: is told. budgeted: whether a budget refers to the first runtime.
    """
    int8 = int8_of(files)
    names = config.runtime or ((_OF_INT8,) if int8 is not None else ())
    threads = config.threads or torch.get_num_threads()
    inputs = random_like(batched(example, config.batch))
    found = []
    for number, name in enumerate(names):
        networks = {
            BEFORE: TimedNetwork(models[0], inputs, threads),
            AFTER: TimedNetwork(models[1], inputs, threads),
        }
        if int8 is not None and runtime_named(name)[0].runs_onnx:
            networks[INT8] = TimedNetwork(models[1], inputs, threads, file=int8.path.read_bytes())
        with log.stage(f"latency in {name}") as stage:
            try:
                latencies = latencies_in(name, list(networks.values()), seconds=_SECONDS)
            except ReconvError as error:
                log.note(str(error))
                continue
            is_budget = budgeted and number == 0 and bool(config.runtime)
            row = RuntimeLatency(name, threads, is_budget, dict(zip(networks, latencies, strict=True)))
            stage.note = row.text
            found.append(row)
    return tuple(found)


def accuracies_with(
    int8: Exported, like: nn.Module, predictions: tuple[Predictions, Predictions], data: DataSet, split: SplitName
) -> tuple[NetworkAccuracy, ...]:
    """Accuracies of original, pruned, and pruned and int8 on the same images, with their 95 % intervals.

    Args:
        int8: the file. like: the pruned network. predictions: of original and pruned. data, split: their images.
    """
    third = predict(FileNetwork(int8.path, like), data, split)
    correct = {
        name: found.correct.numpy() for name, found in zip((BEFORE, AFTER, INT8), (*predictions, third), strict=True)
    }
    replicates = Replicates(correct)
    intervals = {name: replicates.accuracy([name]) for name in correct}
    return tuple(NetworkAccuracy(name, each.value, each.low, each.high) for name, each in intervals.items())


def exported_files(files: Sequence[Exported]) -> tuple[ExportedFile, ...]:
    """The files as a report shows them."""
    return tuple(
        ExportedFile(str(file.path), file.format, file.precision, file.size, file.error, file.agreement, file.images)
        for file in files
    )
