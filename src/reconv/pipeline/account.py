"""From the results of a run to the facts that its report and its `metrics.json` tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reconv.cost import Latency
from reconv.files import tensors_fingerprint
from reconv.graph import ChannelGraph
from reconv.machine import device_name, versions
from reconv.pipeline.config import RunConfig, Schooling
from reconv.pipeline.looking import BY_WEIGHTS, WEIGHTS
from reconv.pipeline.stages import CutNetwork
from reconv.pipeline.watch import Diary
from reconv.plan import Plan
from reconv.report import Curve, LayerFacts, LayerTime, Measures, RunFacts, Tested, Untouched
from reconv.report.numbers import counted
from reconv.saliency import Saliency
from reconv.training import EpochRecord


@dataclass(frozen=True)
class Measured:
    """Before and after: sizes of the saved networks in bytes, accuracies on the test images, latencies; and what both
    networks answered."""

    file_bytes: tuple[int, int]
    accuracies: tuple[float, ...] = ()
    latencies: tuple[tuple[Latency, ...], tuple[Latency, ...]] = ((), ())
    layer_times: tuple[LayerTime, ...] = ()
    tested: Tested | None = None


def account(
    config: RunConfig,
    graph: ChannelGraph,
    cut: CutNetwork,
    measured: Measured,
    diary: Diary,
    histories: Mapping[str, tuple[EpochRecord, ...]],
    command: str,
) -> RunFacts:
    """Gather what a run found."""
    before, after = (
        Measures(
            accuracy=measured.accuracies[i] if measured.accuracies else None,
            macs=cut.plan.macs[i],
            parameters=cut.plan.params[i],
            file_bytes=measured.file_bytes[i],
            latency=measured.latencies[i],
        )
        for i in (0, 1)
    )
    return RunFacts(
        title=f"{config.model} on {config.data_set}",
        asked=_asked(config, cut),
        before=before,
        after=after,
        layers=tuple(layers_of(graph, cut.saliency, cut.plan)),
        untouched=tuple(
            Untouched(row.layers, row.size, row.why) for row in cut.plan.groups if row.why and len(row.kept) == row.size
        ),
        curves=tuple(curve for title, history in histories.items() for curve in _curves(title, history)),
        stages=tuple(diary.rows),
        command=command,
        versions=versions(),
        device=device_name(next(graph.model.parameters()).device),
        hashes={
            "weights before": cut.saliency.weights or tensors_fingerprint(graph.model.state_dict()),
            "weights as cut": tensors_fingerprint(cut.model.state_dict()),
        },
        notes=tuple(diary.notes),
        verified=cut.error,
        layer_times=measured.layer_times,
        tested=measured.tested,
    )


def _asked(config: RunConfig, cut: CutNetwork) -> dict[str, str]:
    choice = config.cut
    amount = f"the paper's configuration {choice.recipe}" if choice.recipe else f"keep at most {choice.budget}"
    return {
        "network": f"{config.model}, {config.weights or 'trained here'}",
        "images": config.data_set,
        "criterion": cut.plan.criterion + (f", from {choice.scores}" if choice.scores else ""),
        "amount": amount,
        "scheme": cut.plan.scheme + (", residual streams too" if choice.coupled else ""),
        "repair": _repair(config) if config.repair else "none",
        "fine-tuning": _described(config.finetune),
        "seed": str(config.seed),
    }


def _described(schooling: Schooling) -> str:
    if schooling.epochs == 0:
        return "none"
    return schooling.protocol + (f", {counted(schooling.epochs, 'epoch')}" if schooling.epochs else "")


def layers_of(graph: ChannelGraph, saliency: Saliency, plan: Plan) -> list[LayerFacts]:
    """Every layer with its scores and what was kept."""
    keep = plan.keep
    why = {layer: row.why for row in plan.groups for layer in row.layers}
    forward = saliency.direction == "forward"
    facts = []
    for layer in graph.layers:
        kept = keep[layer.outputs]
        scores = saliency.values.get(layer.name) if forward else None
        facts.append(
            LayerFacts(
                name=layer.name,
                geometry="linear" if layer.kind == "linear" else str(layer.geometry or layer.kind),
                before=layer.out_channels,
                after=int(kept.sum()),
                scores=() if scores is None else tuple(scores.tolist()),
                kept=() if scores is None else tuple(kept.tolist()),
                note=why.get(layer.name, ""),
            )
        )
    return facts


def _curves(title: str, history: tuple[EpochRecord, ...]) -> list[Curve]:
    if not history:
        return []
    loss = {"training": tuple(row.loss for row in history)}
    top1 = {"training": tuple(100 * row.top1 for row in history)}
    if all(row.validation for row in history):
        loss["validation"] = tuple(row.validation.loss for row in history if row.validation)
        top1["validation"] = tuple(100 * row.validation.top1 for row in history if row.validation)
    return [Curve(f"{title}: loss", "nats", loss), Curve(f"{title}: top-1 accuracy", "%", top1)]


def _repair(config: RunConfig) -> str:
    if config.calibration == WEIGHTS:
        return BY_WEIGHTS
    return f"on {config.images:,} images ({config.calibration or 'training'})"
