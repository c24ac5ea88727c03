"""From a cell to its outcome: cut, do what the arm says, count."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import nn

from reconv.cost import profile
from reconv.graph import trace
from reconv.machine import versions
from reconv.plan import Plan
from reconv.provenance import attach, provenance_of
from reconv.refit import Settings as RepairSettings
from reconv.refit import repair
from reconv.steps import BASE, Finetune, Recalibrate, Reinitialize, Step
from reconv.study.cell import Cell
from reconv.study.context import NetworkContext, context_for, with_random_weights
from reconv.study.peers import is_peer, prune_by_peer
from reconv.study.record import pack
from reconv.surgery import prune
from reconv.threads import one_thread
from reconv.training import Session, load_protocol, recalibrate, train
from reconv.training.predictions import predict

Finished: TypeAlias = tuple[nn.Module, list[dict[str, Any]]]  # a network, and the epochs of its training


@dataclass(frozen=True)
class ComputeOptions:
    """Where a cell is computed, which does not change its result.

    Args:
        device: as `device_named` takes it. folder: for checkpoints of long trainings; None: none are kept.
    """

    device: str = "cpu"
    folder: Path | None = None


def compute(cell: Cell, options: ComputeOptions = ComputeOptions()) -> dict[str, Any]:
    """A cell's record: its settings, its outcome, and what it was computed with.

    On a CPU the outcome is the same to the bit wherever and whenever it is computed with the same libraries: one thread
    does the arithmetic.
    """
    start, cpu = time.perf_counter(), time.process_time()
    context = context_for(cell.network, options.device)
    with one_thread():
        small, history = finished_network(context, cell, options)
        found = predict(small, context.data, cell.split)  # type: ignore[arg-type]  # checked by Study
    cost = profile(trace(small, context.data.example().to(context.device)))
    whole = profile(context.graph)
    outcome = {
        "accuracy": found.top1,
        "images": len(found.labels),
        "loss": _loss(found.probabilities, found.labels),
        "correct": pack(found.correct.numpy()),
        "macs": [whole.macs, cost.macs],
        "parameters": [whole.parameters, cost.parameters],
        "widths": [layer.out_channels for layer in cost.layers],
        "history": history,
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


def finished_network(context: NetworkContext, cell: Cell, options: ComputeOptions = ComputeOptions()) -> Finished:
    """The network that a cell is about, and the epochs of its training."""
    if cell.is_unpruned:
        return context.model, []
    plan: Plan | None = None
    history: list[dict[str, Any]] = []
    if is_peer(cell.criterion):
        small = prune_by_peer(context.graph, cell.criterion, cell.budget, context.prunable, cell.seed)
    else:
        plan = context.plan_of(cell)
        small = prune(context.model, plan)
    for step in cell.arm.after:
        if isinstance(step, Finetune):
            small, history = _trained(context, cell, step, small, options)
        elif isinstance(step, Recalibrate):
            small = recalibrate(small, context.images(cell.arm.images, cell.seed))
        else:
            assert plan is not None  # see design.why_not
            small = _with_plan(context, cell, step, small, plan)
    return small, history


def _with_plan(context: NetworkContext, cell: Cell, step: Step, small: nn.Module, plan: Plan) -> nn.Module:
    if isinstance(step, Reinitialize):
        small = prune(with_random_weights(context, cell.seed), plan)
        normalization = provenance_of(context.model).normalization  # every network of the study has it
        return attach(small, replace(provenance_of(small), normalization=normalization))
    images, settings = context.images(cell.arm.images, cell.seed), RepairSettings(seed=cell.seed)
    return repair(small, plan=plan, reference=context.model, images=images, settings=settings)


def _trained(
    context: NetworkContext, cell: Cell, step: Finetune, small: nn.Module, options: ComputeOptions
) -> Finished:
    protocol = load_protocol(step.protocol, context.data.name, step.overrides)
    folder = None if options.folder is None else options.folder / cell.key
    session = Session(folder, resume=folder is not None, device=str(context.device), progress=False)
    teacher = context.model if step.teacher == BASE else None
    done = train(small, context.data, protocol, seed=cell.seed, teacher=teacher, session=session)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
    keep = ("epoch", "loss", "top1", "validation")
    return done.model, [{key: row.to_json().get(key) for key in keep} for row in done.history]


def _loss(probabilities: torch.Tensor, labels: torch.Tensor) -> float:
    right = probabilities[torch.arange(len(labels)), labels].double()
    return float(-right.clamp_min(1e-12).log().mean())


def _versions() -> dict[str, str]:
    known = versions()
    return {key: known[key] for key in ("reconv", "torch", "python", "system", "processor")}
