"""From a cell to its outcome: compress the network, and measure it."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from reconv.calibration import calibration_for
from reconv.cost import profile
from reconv.graph import trace
from reconv.machine import versions
from reconv.quality import Quality
from reconv.runlog import RunLog
from reconv.steps import FINETUNING, Context
from reconv.store import Store
from reconv.study.cell import Cell
from reconv.study.context import NetworkContext, context_for
from reconv.study.peers import is_peer, prune_by_peer
from reconv.study.record import pack
from reconv.threads import one_thread
from reconv.training import Session
from reconv.training.predictions import predict
from reconv.zoo.code import use_code

_HISTORY = ("epoch", "loss", "top1", "validation")  # what is kept of an epoch


@dataclass(frozen=True)
class ComputeOptions:
    """Where a cell is computed, which does not change its result.

    Args:
        device: as `device_named` takes it. folder: for checkpoints of long trainings; None: none are kept.
        code: that the user has named, without which a process of its own builds no saved network of the user's class.
    """

    device: str = "cpu"
    folder: Path | None = None
    code: tuple[str, ...] = ()


def compute(cell: Cell, options: ComputeOptions = ComputeOptions()) -> dict[str, Any]:
    """A cell's record: its settings, its outcome, and what it was computed with.

    On a CPU the outcome is the same to the bit wherever and whenever it is computed with the same libraries: one thread
    does the arithmetic.
    """
    start, cpu = time.perf_counter(), time.process_time()
    for code in options.code:
        use_code(code)
    context = context_for(cell.network, options.device)
    with one_thread():
        training = Training(context.device, None if options.folder is None else options.folder / cell.key)
        small = finished_network(context, cell, training)
        training.delete()
        predictions = predict(small, context.data, cell.split)  # type: ignore[arg-type]  # checked by Study
    before, after = profile(context.graph), profile(trace(small, context.graph.inputs))
    outcome = {
        "accuracy": predictions.top1,
        "images": len(predictions.labels),
        "loss": _loss(predictions.probabilities, predictions.labels),
        "correct": pack(predictions.correct.numpy()),
        "macs": [before.macs, after.macs],
        "parameters": [before.parameters, after.parameters],
        "widths": [layer.out_channels for layer in after.layers],
        "history": [{key: row.to_json().get(key) for key in _HISTORY} for row in training.history.get(FINETUNING, ())],
    }
    if cell.arm.calibrates:
        outcome["images_for_mending"] = min(cell.arm.images, len(context.data.train))
    seconds = {"seconds": time.perf_counter() - start, "processor_seconds": time.process_time() - cpu}
    return {
        "key": cell.key,
        "name": cell.network.name,
        "arm": cell.arm.name,
        "cell": cell.identity,
        "outcome": outcome,
        "made": {**seconds, "device": str(context.device), "versions": _versions()},
    }


class Training(Store):
    """The history of a cell's training, and its checkpoints while it lasts.

    Args:
        device: where it computes. folder: for checkpoints; None: none are kept.
    """

    def __init__(self, device: torch.device, folder: Path | None = None) -> None:
        super().__init__(str(device))
        self.folder = folder

    def session(self, title: str, progress: bool) -> Session:
        """In the folder, from where an interrupted training continues."""
        return Session(
            self.folder,
            resume=self.folder is not None,
            device=self.device,
            progress=False,
            title=title,
            starts_from=self.folder.name if self.folder else None,  # the cell's hash, which the weights are part of
        )

    def delete(self) -> None:
        """Remove the checkpoints."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def finished_network(context: NetworkContext, cell: Cell, training: Training) -> nn.Module:
    """The network that a cell is about."""
    if cell.is_unpruned:
        return context.model
    if not is_peer(cell.criterion):
        return context.compress(cell.compression, training).model
    model = prune_by_peer(context.graph, cell.criterion, cell.budget, context.prunable(), cell.seed)
    calibration = calibration_for(context.graph, context.data, None, cell.arm.images, cell.seed, cache=context.cache)
    steps = Context(context.model, context.data, calibration, Quality(None), None, cell.seed, RunLog(), training)
    for step in cell.arm.after:
        model = step.apply(model, None, steps)  # type: ignore[arg-type]  # none of these needs a plan, see why_not
    return model


def _loss(probabilities: torch.Tensor, labels: torch.Tensor) -> float:
    right = probabilities[torch.arange(len(labels)), labels].double()
    return float(-right.clamp_min(1e-12).log().mean())


def _versions() -> dict[str, str]:
    installed = versions()
    return {key: installed[key] for key in ("reconv", "torch", "python", "system", "processor")}
