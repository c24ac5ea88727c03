"""From the result of a compression to the facts that its report and its `metrics.json` hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from reconv.files import tensors_fingerprint
from reconv.graph import ChannelGraph
from reconv.machine import device_name, versions
from reconv.plan import Plan, unit_scores
from reconv.report import Curve, LayerFacts, LayerTime, Measures, RunFacts, UnprunedGroup
from reconv.report.numbers import counted
from reconv.results.describe import describe, describe_scores
from reconv.results.fingerprints import images_fingerprint
from reconv.results.measure import Pair, compare_predictions
from reconv.saliency import Saliency
from reconv.training import EpochRecord
from reconv.training.evaluation import Evaluation, device_of

if TYPE_CHECKING:
    from reconv.results.result import Result


@dataclass(frozen=True)
class Naming:
    """What a report calls things.

    Args:
        network: as its title names it; "" for its class. data_set: the same of the images.
        command: that does it again. settings: of what came before the compression, by name.
    """

    network: str = ""
    data_set: str = ""
    command: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)


def facts_of(result: Result, naming: Naming, figures: Pair | None, file_bytes: tuple[int, int]) -> RunFacts:
    """Gather what a compression gave.

    Args:
        result: of it. naming: what things are called.
        figures: of both networks, where they were measured. file_bytes: of the saved networks.
    """
    plan, data, quality = result.plan, result.data, result.quality
    before, after = (
        Measures(
            accuracy=figures.qualities[i] if figures and quality.is_share else None,
            metric=None if not figures or quality.is_share else figures.qualities[i],
            macs=plan.macs[i],
            parameters=plan.params[i],
            file_bytes=file_bytes[i],
            latency=figures.latencies[i] if figures else (),
        )
        for i in (0, 1)
    )
    network = naming.network or type(result.base).__name__
    images = naming.data_set or (data.name if data else "")
    settings = {"network": network, "images": str(data or images), **naming.settings}
    predictions = figures.predictions if figures else None
    return RunFacts(
        title=f"{network} on {images}" if images else network,
        settings=settings | describe(result.compression, plan, data.name if data else images),
        before=before,
        after=after,
        layers=tuple(layers_of(result.graph, result.scores, plan)),
        unpruned=tuple(
            UnprunedGroup(row.layers, row.size, row.why) for row in plan.groups if row.why and len(row.kept) == row.size
        ),
        curves=tuple(curve for title, history in result.history.items() for curve in _curves(title, history)),
        stages=tuple(result.log.rows),
        command=naming.command,
        versions=versions(),
        device=_computed_on(device_of(result.base)),
        hashes={
            "weights before": tensors_fingerprint(result.base.state_dict()),
            "weights as cut": result.pruned_only,
            "weights after": tensors_fingerprint(result.model.state_dict()),
            **({} if data is None else dict([images_fingerprint(data)])),
        },
        notes=tuple(result.log.notes),
        rounds=result.rounds,
        verified=result.verified,
        layer_times=_layer_times(figures) if figures else (),
        tested=compare_predictions(*predictions, quality.data, figures.split)  # type: ignore[arg-type]  # there are both
        if figures and predictions
        else None,
        validation_images=len(quality.data.validation) if quality.data else None,
        quality="top-1 accuracy" if quality.name == "top-1" else quality.name,
        scored_by=describe_scores(plan.criterion, result.compression.scores),
    )


def _layer_times(figures: Pair) -> tuple[LayerTime, ...]:
    before, after = figures.layers
    return tuple(LayerTime(name, before[name], after[name]) for name in before if name in after)


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
    """Loss, accuracy and metric, epoch by epoch; without those that an epoch lacks, such as a detector's accuracy."""
    found = [row.validation or Evaluation(math.nan, math.nan, math.nan, 0) for row in history]
    name = next((row.metric_name for row in found if row.metric_name), "")
    series: dict[tuple[str, str], dict[str, list[float]]] = {
        ("loss", "nats"): {"training": [row.loss for row in history], "validation": [row.loss for row in found]},
        ("top-1 accuracy", "%"): {
            "training": [100 * row.top1 for row in history],
            "validation": [100 * row.top1 for row in found],
        },
        (name, ""): {"validation": [math.nan if row.metric is None else row.metric for row in found]},
    }
    curves = []
    for (what, unit), lines in series.items():
        whole = {split: tuple(values) for split, values in lines.items() if values and not any(map(math.isnan, values))}
        curves += [Curve(f"{title}: {what}", unit, whole)] if whole else []
    return curves
