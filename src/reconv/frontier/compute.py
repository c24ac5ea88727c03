"""`explore`: one set of error curves, the plans of least error for many budgets, and a few of them measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from reconv.budget import Budget, Cost
from reconv.cache import Cache
from reconv.calibration import calibration_for
from reconv.compression import Compression
from reconv.cost import LatencyTable, measure_latency
from reconv.cost.timing import random_like
from reconv.drop import Judge
from reconv.drop.candidates import calibrated, quiet
from reconv.errors import ConfigError, check_kind
from reconv.files import tensors_fingerprint
from reconv.frontier.exploration import Exploration, FrontierPoint, MeasuredPoint, Sensitivity
from reconv.frontier.fit import Fit
from reconv.graph import ChannelGraph, trace
from reconv.machine import device_name
from reconv.mappings import tag_of
from reconv.pipeline import as_images, as_network, pixels_per_batch
from reconv.plan import ErrorCurves, Predicted, choose_along, measure_layers
from reconv.quality import quality_for
from reconv.report.numbers import counted
from reconv.runlog import RunLog
from reconv.select import rank_channels, timer_of
from reconv.steps import Context, Repair, Step
from reconv.store import Store
from reconv.surgery import prune
from reconv.threads import few_threads
from reconv.training import Metric
from reconv.training.evaluation import as_metric, device_of

SHARES = tuple(i / 20 for i in range(19, 0, -1))  # of a cost, that a frontier has a point for
MEASURED = (0.85, 0.7, 0.5, 0.35)
HELD_OUT = 0.25  # of images without labels, that points are measured on
DEFAULT = Compression("reconstruction", scheme="allocated", after=(Repair(),))
_LEVEL = 0.975  # of each end of an interval
_POINT = 0.01


def explore(
    model: nn.Module | str,
    data: Any,
    compression: Compression = DEFAULT,
    *,
    costs: Sequence[str] = ("macs", "params"),
    measure: Sequence[float] = MEASURED,
    example: Any = None,
    metric: Metric | Callable[[Any, Any], float | Tensor] | None = None,
    device: str | None = None,
    data_root: str | None = None,
    log: RunLog | None = None,
    kept: MutableMapping[str, Any] | None = None,
) -> Exploration:
    """How much of a network can be pruned, and what that loses: predicted everywhere, measured at a few points.

    Error curves are made once, from calibration images. For each cost and for shares of 95 % down to 5 % the plan with
    the least predicted error is found. A few plans of the first cost are pruned, repaired and measured on the
    validation images, or on a quarter of images without labels; test images are not looked at. A monotone line through
    these points turns predicted error into predicted loss.

    Args:
        model, data, example, metric, device, data_root: as for `compress`; with labels what is lost is top-1, or the
            metric; without them, identical predictions.
        compression: which channels may go (criterion, coupled, limits, depth), calibration images, and how pruned
            networks are repaired. Its scheme is "allocated"; budget and training are not looked at.
        costs: kinds of budget, such as "macs", "params", "latency"; a latency is predicted from timings of the layers.
        measure: shares of the first cost whose networks are measured, each at the cost of a repair.
        log: is told what happens. kept: points that were measured before, of an interrupted call; new ones are put in.

    Returns:
        Sensitivities, frontiers and measured points; `print` shows them.

    Raises:
        ConfigError: no images to measure on, or shares that are none. BudgetError: nothing can be removed.

    Example:
        >>> import torch, reconv
        >>> net = torch.nn.Sequential(
        ...     torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3), torch.nn.Flatten()
        ... )
        >>> found = reconv.explore(net, torch.randn(80, 3, 6, 6), measure=(0.7,))
        >>> [point.share for point in found.measured], found.quality
        ([0.7], 'identical predictions')
    """
    check_kind("explore: model", model, (nn.Module, str))
    check_kind("explore: compression", compression, Compression)
    log = log or RunLog()
    for cost in costs:
        Cost.registry[cost]  # that there is such a kind
    _check_shares(measure)
    images = as_images(data, example, compression.seed, data_root, held=HELD_OUT)
    if images is None or not len(images.validation):
        raise ConfigError("explore: no validation images to measure on; give more images, or a data set that has them")
    network = as_network(model, images, device)
    where = device_of(network)
    example = images.example() if example is None else example
    compression = replace(compression, scheme="allocated", recipe=None, rounds=1, reverse=False, rescale="mean")
    steps = tuple(step for step in compression.after if step.in_each_round)
    for step in compression.after:
        if step not in steps and not step.is_idle:
            log.note(f"{tag_of(type(step))} is left out: an exploration looks at calibration images alone.")
    with few_threads(pixels_per_batch(images), where):
        example = tree_map(lambda x: x.to(where) if isinstance(x, Tensor) else x, example)
        graph = trace(network, example)
        calibration = calibration_for(
            graph, images, compression.calibration, compression.images, compression.seed, data_root, Cache()
        )
        quality = quality_for(network, images, as_metric(metric), None)
        context = quiet(Context(network, images, calibration, quality, None, compression.seed, log, Store(str(where))))
        judge = Judge(network, quality, compression.seed)
        curves = rank_channels(graph, compression, calibration, log, Cache()).by
        assert isinstance(curves, ErrorCurves)  # by the scheme
        table = _timings(graph, compression, log) if any(Cost.registry[c].source == "timer" for c in costs) else None
        plans = {cost: _plans(graph, curves, cost, compression, table, log, measure) for cost in costs}
        first, *_ = costs
        points = [
            _measured(share, plans[first][share], steps, context, judge, table is not None, log, kept)
            for share in _possible(measure, plans[first])
        ]
    return _exploration(graph, curves, plans, points, judge, compression, log)


def _check_shares(measure: Sequence[float]) -> None:
    if not measure or not all(0 < share < 1 for share in measure):
        raise ConfigError(f"explore: measure={list(measure)}; give shares between 0 and 1, such as 0.85, 0.7, 0.5")


def _timings(graph: ChannelGraph, compression: Compression, log: RunLog) -> LatencyTable:
    """Of the layers, in the runtime that the compression names."""
    with log.stage("time layers") as stage:
        multiple, coupled = compression.limits.multiple, compression.coupled
        table = measure_layers(graph, multiple=multiple, coupled=coupled, **timer_of(compression.timing))
        stage.note = str(compression.timing) or "PyTorch"
    return table


def _plans(
    graph: ChannelGraph,
    curves: ErrorCurves,
    cost: str,
    compression: Compression,
    table: LatencyTable | None,
    log: RunLog,
    measure: Sequence[float],
) -> dict[float, Predicted]:
    """The plan of least predicted error for each share of a cost that can be had, the largest first."""
    shares = sorted({*SHARES, *measure}, reverse=True)
    with log.stage(f"frontier of {cost}") as stage:
        found = choose_along(
            graph,
            curves,
            [Budget(others={cost: share}) for share in shares],
            coupled=compression.coupled,
            limits=compression.limits,
            depth=compression.depth,
            latency=table,
        )
        plans = {share: plan for share, plan in zip(shares, found, strict=True) if plan is not None}
        if not plans:
            raise ConfigError(f"explore: nothing that may go lowers {cost}; see `reconv inspect`, or give another cost")
        stage.note = f"{counted(len(plans), 'plan')}, {100 * min(plans):.0f} % left at least"
    return plans


def _possible(measure: Sequence[float], plans: Mapping[float, Predicted]) -> list[float]:
    """Shares to measure; in place of those that cannot be had, the smallest that can."""
    return sorted({share if share in plans else min(plans) for share in measure}, reverse=True)


def _measured(
    share: float,
    predicted: Predicted,
    steps: Sequence[Step],
    context: Context,
    judge: Judge,
    timed: bool,
    log: RunLog,
    kept: MutableMapping[str, Any] | None,
) -> MeasuredPoint:
    """A plan, pruned, repaired and measured; or what was measured of it before."""
    plan = predicted.plan
    key = tensors_fingerprint({"keep": torch.from_numpy(plan.keep)})
    if kept is not None and key in kept:
        return MeasuredPoint(**{**kept[key], "share": share, "error": predicted.error})
    with log.stage(f"measure {100 * share:.0f} %") as stage:
        small = calibrated(prune(plan.graph.model, plan), plan, steps, context)
        drop = judge.of(small)
        low, high = drop.interval(_LEVEL)
        latency = None
        if timed:
            inputs: Any = random_like(plan.graph.inputs)
            times = measure_latency((plan.graph.model, small), inputs)
            latency = 1e6 * times[0].median, 1e6 * times[1].median
        point = MeasuredPoint(
            share,
            plan.macs[1] / plan.macs[0],
            plan.params[1] / plan.params[0],
            predicted.error,
            drop.value,
            low,
            high,
            judge.value_after(drop.value),
            latency=latency,
        )
        stage.note = f"{100 * drop.value:.2f} points of {judge.name} lost [{100 * low:.2f}, {100 * high:.2f}]"
    if kept is not None:
        kept[key] = asdict(point)
    return point


def _exploration(
    graph: ChannelGraph,
    curves: ErrorCurves,
    plans: Mapping[str, Mapping[float, Predicted]],
    points: Sequence[MeasuredPoint],
    judge: Judge,
    compression: Compression,
    log: RunLog,
) -> Exploration:
    """The values, with what is predicted from the measured points."""
    fit = Fit(tuple(point.error for point in points), tuple(point.loss for point in points))
    points = [replace(point, predicted=fit.left_out(i)) for i, point in enumerate(points)]
    frontiers = {
        cost: tuple(
            FrontierPoint(
                share,
                _cost(cost, row),
                row.plan.macs[1] / row.plan.macs[0],
                row.plan.params[1] / row.plan.params[0],
                row.error,
                fit.loss(row.error),
            )
            for share, row in found.items()
        )
        for cost, found in plans.items()
    }
    layers = {group.name: group for group in graph.groups}
    groups = []
    for name, curve in curves.items():
        errors = curve.errors - curve.errors[0]
        at = [float(errors[round(share * (len(errors) - 1))]) for share in (0.25, 0.5, 0.75)]
        losses = [fit.loss(float(error)) for error in errors]
        fine = max(n for n, loss in enumerate(losses) if n == 0 or (loss is not None and loss <= _POINT))
        group = layers[name]
        groups.append(
            Sensitivity(name, group.producers, group.size, (at[0], at[1], at[2]), fit.loss(at[1]), fine / group.size)
        )
    settings = {
        "criterion": curves.criterion,
        "calibration images": f"{compression.images:,} at most ({compression.calibration or 'training'})",
        "steps after pruning": ", ".join(tag_of(type(step)) for step in compression.after if step.in_each_round),
        "seed": str(compression.seed),
        "device": device_name(device_of(graph.model)),
    }
    return Exploration(
        judge.name,
        judge.base_value,
        judge.images,
        compression.images,
        frontiers,
        tuple(points),
        tuple(sorted(groups, key=lambda row: -row.errors[1])),
        {name: text for name, text in settings.items() if text},
        tuple(log.notes),
        judge.higher_is_better,
    )


def _cost(cost: str, row: Predicted) -> tuple[float, float]:
    before, after = row.plan.costs[cost]
    return float(before), float(after)
