"""The smallest network that loses little enough: found on one half of the held-out images, certified on the other.

Networks are tried by bisection of the share that is left of a cost. A network found on some images looks better on
them than it is, so the images that it is found on prove nothing: the other half is looked at once, when all is done,
and the one-sided 95 % bound there is the certificate. It is not looked at again, whatever it says.

So that this one look will probably do, the first half is asked for more. With n images in each half and a standard
error s, the certificate holds where drop + 1.645 s stays within what may be lost; drops of the two halves differ by
1.41 s, so drop + (1.645 + 0.84 x 1.41) s on the first half makes that four times in five. The bounds are exact, and
this asks for them at the level that belongs to 2.84 standard errors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import NormalDist

import torch
from torch import nn

from reconv.bounds import LEVEL
from reconv.budget import Budget
from reconv.cache import Cache
from reconv.compression import Compression
from reconv.data import DataSet
from reconv.data.randomness import generator
from reconv.drop.candidates import calibrated, quiet
from reconv.drop.losses import Judge
from reconv.errors import BudgetError, ConfigError
from reconv.graph import ChannelGraph
from reconv.quality import quality_for
from reconv.report import Certificate
from reconv.runlog import RunLog
from reconv.select import prune_network, rank_channels
from reconv.steps import Context, Step

CHANCE = 0.8  # at least, that what is found is certified
_NORMAL = NormalDist()
SEARCH_LEVEL = _NORMAL.cdf(_NORMAL.inv_cdf(LEVEL) + _NORMAL.inv_cdf(CHANCE) * math.sqrt(2))
RESOLUTION = 0.01  # of a cost


@dataclass(frozen=True, eq=False)
class Found:
    """What a search gives.

    Args:
        compression: with the budget that was found. share: of the cost that it leaves.
        searched: images that it was found on. certifying: measures on those that nothing has looked at.
        asked: the budget that says what may be lost.
        tried: shares, their drop in points, and whether that was little enough.
    """

    compression: Compression
    share: float
    searched: int
    certifying: Judge
    asked: Budget
    tried: tuple[tuple[float, float, bool], ...]


def set_aside(images: DataSet | None, compression: Compression) -> tuple[DataSet | None, DataSet | None]:
    """The images with half of the validation images, and the same with the others and without test images; None for
    these where no drop is limited.

    Raises:
        ConfigError: a drop is limited, and there are no images.
    """
    if not compression.limits_drop:
        return images, None
    if images is None:
        raise ConfigError(f"budget: {compression.budget}: no images to measure on; give data")
    held = images.validation
    order = torch.randperm(len(held), generator=generator(compression.seed, "certify"))
    first, second = order[: len(order) // 2].sort().values, order[len(order) // 2 :].sort().values
    aside = replace(images, validation=held.subset(second), test=images.test.subset(order[:0]))
    return replace(images, validation=held.subset(first)), aside


def check_enough(judge: Judge, max_drop: float) -> None:
    """Refuse to look for what so few images cannot show.

    Args:
        judge: of the images that are searched on; as many certify. max_drop: in points.

    Raises:
        ConfigError: says how many images would do, and which drop these would do for.
    """
    needed = judge.fewest_images(max_drop / 100, SEARCH_LEVEL)
    if judge.images >= needed:
        return
    least = judge.least_bound(SEARCH_LEVEL)
    possible = "" if least is None else f"; these would do for max_drop={math.ceil(1000 * least) / 10:g}"
    whole = f"{2 * needed:,} validation images"
    if judge.quality.compares:
        whole = f"{4 * needed:,} images, of which half are held out"
    raise ConfigError(
        f"max_drop={max_drop:g}: with {judge.images:,} images to search on and as many to certify on, not even a "
        f"network that loses no point of {judge.name} on any of them is sure to lose so few; "
        f"give at least {whole}{possible}"
    )


def find_smallest(
    graph: ChannelGraph,
    compression: Compression,
    after: tuple[Step, ...],
    context: Context,
    aside: DataSet,
    cache: Cache | None,
) -> Found:
    """The smallest share of a cost whose network, pruned and repaired, loses little enough.

    Args:
        graph: of the network. compression: whose budget says what may be lost.
        after: its steps, of which those that look at calibration images alone are done. context: of the steps; its
            validation images are searched on. aside: those that certify.
        cache: keeps scores, curves and plans.

    Raises:
        ConfigError: too few images; says how many would do.
        BudgetError: no such network was found; says what the largest one tried loses.
    """
    budget, log, quality = compression.budget, context.log, context.quality
    assert budget is not None  # see Compression.limits_drop
    assert budget.max_drop is not None
    judge = Judge(context.base, quality, context.seed)
    check_enough(judge, budget.max_drop)
    cache = cache or Cache()
    rank_channels(graph, compression, context.calibration, log, cache, context.loss)
    low, high, tried = 0.0, 1.0, []
    while high - low > RESOLUTION:
        share = round((low + high) / 2, 4)
        with log.stage(f"try {budget.minimize}={share:g}") as stage:
            options = replace(compression, budget=budget.at(share), verify=False)
            try:
                pruned = prune_network(graph, options, context.calibration, RunLog(), cache, context.loss)
            except BudgetError:
                stage.note, low = "cannot be had", share
                continue
            drop = judge.of(calibrated(pruned.model, pruned.plan, after, quiet(context)))
            bound = 100 * drop.bound(SEARCH_LEVEL)
            fits = bound <= budget.max_drop
            stage.note = (
                f"{100 * drop.value:.2f} points of {judge.name} lost, {'little enough' if fits else 'too many'}"
            )
        tried.append((share, 100 * drop.value, fits))
        low, high = (low, share) if fits else (share, high)
    if high == 1.0:
        share, lost, _ = tried[-1] if tried else (1.0, 0.0, False)
        raise BudgetError(
            f"{budget}: no smaller network was found that loses so little: {budget.minimize}={share:g} lost {lost:.2f} "
            f"points on {judge.images:,} images, which does not rule out {budget.max_drop:g}; "
            "give more images, a larger max_drop, or steps that repair more"
        )
    certifying = Judge(context.base, quality_for(context.base, aside, quality.metric, context.loss), context.seed)
    chosen = replace(compression, budget=budget.at(high))
    return Found(chosen, high, judge.images, certifying, budget, tuple(tried))


def certify(found: Found, model: nn.Module, log: RunLog) -> Certificate:
    """Look at the images that were set aside, once.

    Args:
        found: by the search. model: in its final state. log: is told.
    """
    judge = found.certifying
    with log.stage("certify") as stage:
        drop = judge.of(model)
        certificate = Certificate(
            max_drop=found.asked.max_drop or 0.0,
            quality=judge.name,
            minimize=found.asked.minimize or "",
            share=found.share,
            drop=100 * drop.value,
            bound=100 * drop.bound(LEVEL),
            level=LEVEL,
            images=drop.images,
            method=drop.method,
            searched=found.searched,
            tried=found.tried,
        )
        stage.note = f"at most {certificate.bound:.2f} points of {judge.name} lost ({100 * LEVEL:g} %, {drop.method})"
    log.note(f"{certificate}.")
    return certificate
