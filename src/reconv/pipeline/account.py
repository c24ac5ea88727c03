"""From the results of a run to the facts that its report and its `metrics.json` tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from reconv.cost import Latency
from reconv.data import DataSet
from reconv.files import tensors_fingerprint
from reconv.graph import ChannelGraph
from reconv.machine import device_name, versions
from reconv.pipeline.asked import asked
from reconv.pipeline.config import RunConfig
from reconv.pipeline.fingerprints import images_fingerprint
from reconv.pipeline.scored import scored_by
from reconv.pipeline.stages import CutNetwork
from reconv.pipeline.watch import Diary
from reconv.plan import Plan, unit_scores
from reconv.report import Curve, LayerFacts, LayerTime, Measures, RunFacts, Tested, UnprunedGroup
from reconv.report.numbers import counted
from reconv.saliency import Saliency
from reconv.training import EpochRecord


@dataclass(frozen=True)
class Measured:
    """Before and after: sizes of the saved networks in bytes, fingerprints of their weights, accuracies on the test
    images, latencies; and what both networks answered."""

    file_bytes: tuple[int, int]
    weights: tuple[str, str]
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
    data: DataSet | None,
) -> RunFacts:
    """Gather what a run found; `data`: its images, where they were loaded."""
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
        settings=asked(config, cut.plan, data),
        before=before,
        after=after,
        layers=tuple(layers_of(graph, cut.saliency, cut.plan)),
        unpruned=tuple(
            UnprunedGroup(row.layers, row.size, row.why)
            for row in cut.plan.groups
            if row.why and len(row.kept) == row.size
        ),
        curves=tuple(curve for title, history in histories.items() for curve in _curves(title, history)),
        stages=tuple(diary.rows),
        command=command,
        versions=versions(),
        device=_computed_on(next(graph.model.parameters()).device),
        hashes={
            "weights before": measured.weights[0],
            "weights as cut": tensors_fingerprint(cut.model.state_dict()),
            "weights after": measured.weights[1],
            **({} if data is None else dict([images_fingerprint(data)])),
        },
        notes=tuple(diary.notes),
        verified=cut.error,
        layer_times=measured.layer_times,
        tested=measured.tested,
        validation_images=None if data is None else len(data.validation),
        scored_by=scored_by(cut.plan.criterion, config.cut.scores),
    )


def _computed_on(device: torch.device) -> str:
    threads = f", {counted(torch.get_num_threads(), 'thread')}" if device.type == "cpu" else ""
    return device_name(device) + threads


def layers_of(graph: ChannelGraph, saliency: Saliency, plan: Plan) -> list[LayerFacts]:
    """Every layer with the scores that its channels were ranked by, and what was kept.

    Channels of tied layers go together, by one score for all of them: that is the score that is told.
    """
    why = {layer: row.why for row in plan.groups for layer in row.layers}
    ranked = np.full(graph.classes, np.nan)
    found = unit_scores(graph, saliency)
    tied: dict[str, tuple[str, ...]] = {}
    for group in graph.groups:
        if group.name in found:
            ranked[group.units] = found[group.name]
        for name in group.producers:
            tied[name] = (*tied.get(name, ()), *(other for other in group.producers if other != name))
    keep = plan.keep
    facts = []
    for layer in graph.layers:
        kept, scores = keep[layer.outputs], ranked[layer.outputs]
        known = not np.isnan(scores).any()
        facts.append(
            LayerFacts(
                name=layer.name,
                geometry="linear" if layer.kind == "linear" else str(layer.geometry or layer.kind),
                before=layer.out_channels,
                after=int(kept.sum()),
                scores=tuple(scores.tolist()) if known else (),
                kept=tuple(kept.tolist()) if known else (),
                note=why.get(layer.name, ""),
                tied=tied.get(layer.name, ()),
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
