"""Which channels go: images, scores, plan, pruned network, proof."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias

from torch import Tensor, nn

from reconv.artifacts import load_saliency
from reconv.budget import LatencyConfig
from reconv.cache import Cache
from reconv.calibration import Calibration, split_for_curves
from reconv.compression import ALLOCATED, Compression
from reconv.deploy import runtime_timer
from reconv.errors import ConfigError, GraphError, ReconvError
from reconv.files import tensors_fingerprint
from reconv.graph import ChannelGraph
from reconv.inputs import batch_size
from reconv.plan import ErrorCurves, Plan, check_budget, choose, choose_widths
from reconv.provenance import provenance_of
from reconv.published_scores import read_published_scores
from reconv.refit import Settings, curves_of, gather_moments
from reconv.report.numbers import counted, percent
from reconv.runlog import RunLog
from reconv.saliency import Gradients, Moments, Saliency, gather_gradients, score
from reconv.surgery import prune, verify
from reconv.training.evaluation import device_of
from reconv.zoo import load_recipe

VERIFY_SECONDS = 10.0  # a proof that takes longer waits to be asked for
_LARGEST = 0.99  # share that is left of a cost, so that anything is saved at all
_FLOAT64_MACS_PER_SECOND = 3e9

_LATER = ("after", "between", "verify")  # what does not decide which channels go
_DECIDING = tuple(field.name for field in fields(Compression) if field.name not in _LATER)
Loss: TypeAlias = Callable[[Any, Any], Tensor]


@dataclass(frozen=True, eq=False)
class Pruned:
    """A network with fewer channels.

    Args:
        scores, plan: by which scores, by which plan.
        model: the smaller network.
        error: how far removing is from zeroing, relative; None: not proved.
    """

    scores: Saliency
    plan: Plan
    model: nn.Module
    error: float | None


def prune_network(
    graph: ChannelGraph,
    compression: Compression,
    calibration: Calibration,
    log: RunLog,
    cache: Cache | None = None,
    loss: Loss | None = None,
) -> Pruned:
    """Score, choose, prune, and prove.

    Args:
        graph: of the network. compression: what is removed. calibration: images for it.
        log: is told. cache: of this network. loss: for criteria that look at gradients; None: cross-entropy.
    """
    cache = cache or Cache()
    ranked = rank_channels(graph, compression, calibration, log, cache, loss)
    with log.stage("choose and prune") as stage:
        choice = tuple(repr(getattr(compression, name)) for name in _DECIDING)
        images = (calibration.key, loss) if compression.looks_at_images else None
        plan = cache.get("plan", (*choice, images), lambda: choose_channels(graph, ranked.by, compression))
        small = prune(graph.model, plan)
        macs, params = (percent(after / before) for before, after in (plan.macs, plan.params))
        stage.note = f"{macs} of MACs, {params} of parameters left"
    return Pruned(ranked.scores, plan, small, prove(graph, small, plan, compression.verify, calibration, log))


@dataclass(frozen=True, eq=False)
class Ranked:
    """In which order channels go.

    Args:
        scores: of every channel. by: what decides: these, or the error curves of their order.
    """

    scores: Saliency
    by: Saliency | ErrorCurves


def rank_channels(
    graph: ChannelGraph,
    compression: Compression,
    calibration: Calibration,
    log: RunLog,
    cache: Cache,
    loss: Loss | None = None,
) -> Ranked:
    """Score the channels, and predict the errors of their removal where the scheme is by these.

    Args:
        graph, compression, calibration, log, cache, loss: as for `prune_network`.
    """
    split = compression.scheme == ALLOCATED
    moments = _moments(graph, calibration, log, cache, split=split) if "moments" in compression.needs else None
    gradients = _gradients(graph, calibration, log, cache, loss) if "gradients" in compression.needs else None
    images = (calibration.key, loss) if compression.looks_at_images else None
    key = (
        compression.criterion,
        compression.direction,
        compression.exact,
        compression.scores,
        compression.seed if "seed" in compression.needs else 0,
        images,
    )
    with log.stage("score channels") as stage:
        scores = cache.get("scores", key, lambda: _scores(graph, compression, log, moments, gradients))
        stage.note = f"{scores.criterion}, {counted(sum(map(len, scores.values.values())), 'channel')}"
    if not split:
        return Ranked(scores, scores)
    assert moments is not None  # see Compression.needs
    with log.stage("predict errors") as stage:
        options = compression.options_of(curves_of)
        held_out = split_for_curves(calibration.images())[1]
        make = lambda: curves_of(graph, scores, moments, held_out=held_out, **options)  # noqa: E731
        curves = cache.get("curves", (key, repr(options)), make)
        stage.note = f"{counted(len(curves), 'group')} of channels"
    return Ranked(scores, curves)


def _moments(
    graph: ChannelGraph, calibration: Calibration, log: RunLog, cache: Cache, *, split: bool
) -> Mapping[str, Moments]:
    """What every layer reads; `split`: on the images that error curves are made from."""

    def gathered() -> Mapping[str, Moments]:
        with log.stage("gather statistics") as stage:
            images = split_for_curves(calibration.images())[0] if split else calibration.images()
            moments = gather_moments(graph, images, Settings(seed=calibration.seed))
            stage.note = f"{counted(len(moments), 'layer')}, {counted(batch_size(images), 'image')} without labels"
        few = [name for name, own in moments.items() if 0 < own.count < own.gram.shape[1]]
        if few:
            log.note(
                f"{', '.join(few)}: more inputs than {counted(batch_size(images), 'image')} can tell apart; what these "
                "layers read is pruned only as far as images that are left out allow. Give more images."
            )
        return moments

    return cache.get("moments", (calibration.key, split), gathered)


def _gradients(
    graph: ChannelGraph, calibration: Calibration, log: RunLog, cache: Cache, loss: Loss | None
) -> Mapping[str, Gradients]:
    """How a loss depends on every layer's weights."""

    def gathered() -> Mapping[str, Gradients]:
        with log.stage("gather gradients") as stage:
            gradients = gather_gradients(graph, calibration.batches(device_of(graph.model)), loss)
            images = counted(calibration.number, "image")
            stage.note = f"{counted(len(gradients), 'layer')}, {images} with labels at most"
        return gradients

    return cache.get("gradients", (calibration.key, loss), gathered)


def _scores(
    graph: ChannelGraph,
    compression: Compression,
    log: RunLog,
    moments: Mapping[str, Moments] | None,
    gradients: Mapping[str, Gradients] | None,
) -> Saliency:
    """Scores: read where a file is named, computed otherwise."""
    if compression.scores is not None:
        return _read_checked(compression.scores, graph, log)
    return score(graph, compression.criterion, moments=moments, gradients=gradients, **compression.options_of(score))


def choose_channels(graph: ChannelGraph, ranking: Saliency | ErrorCurves, compression: Compression) -> Plan:
    """The plan that a compression asks for: by budget, or by one of the paper's recipes."""
    if compression.recipe is not None:
        assert isinstance(ranking, Saliency)  # see Compression
        return choose_widths(
            graph, ranking, _recipe_widths(graph, compression.recipe), **compression.options_of(choose_widths)
        )
    assert compression.budget is not None  # see Compression
    options = {**compression.options_of(choose), **_timing(compression)}
    if compression.scheme == ALLOCATED:
        options |= {"scheme": "knapsack", "reverse": False}  # the curves have their order
    return choose(graph, ranking, compression.budget, **options)


def check_feasible(graph: ChannelGraph, compression: Compression) -> None:
    """Find out before a training whether the network can be pruned after it; widths do not depend on scores.

    Raises:
        BudgetError: the budget cannot be met; says what is possible.
    """
    if compression.budget is None:
        choose_channels(graph, score(graph, "random"), compression)
    else:
        budget = compression.budget.at(_LARGEST) if compression.limits_drop else compression.budget
        check_budget(graph, budget, **compression.options_of(check_budget), **_timing(compression))


def _timing(compression: Compression) -> dict[str, Any]:
    """What `choose` and `check_budget` are told of where latency is measured; nothing where no budget limits it."""
    return timer_of(compression.timing) if compression.has_latency_budget else {}


def timer_of(where: LatencyConfig) -> dict[str, Any]:
    """The argument `timer` of what measures latency; nothing where that is PyTorch as it is."""
    if where.is_default:
        return {}
    return {"timer": runtime_timer(where.of_budget, threads=where.threads, batch=where.batch)}


def _recipe_widths(graph: ChannelGraph, number: int) -> dict[str, int]:
    spec = provenance_of(graph.model).spec
    if spec is None:
        raise ConfigError("recipe: it is for a model by name, and this one has none; give a budget")
    convolutions = {layer.name: layer.out_channels for layer in graph.layers if layer.kind == "conv"}
    return load_recipe(spec.name, number).widths(convolutions)


def read_scores(path: str | Path, model: nn.Module) -> Saliency:
    """Scores from a file that reconv saved, or from one published with the paper (`.py`; it is parsed, never run)."""
    if Path(path).suffix == ".py":
        published = read_published_scores(path, model)
        return Saliency(published.criterion, "forward", published.values)
    return load_saliency(path)


def _read_checked(path: str, graph: ChannelGraph, log: RunLog) -> Saliency:
    """Scores from a file, for this network."""
    scores = read_scores(path, graph.model)
    if scores.weights and scores.weights != tensors_fingerprint(graph.model.state_dict()):
        log.note(f"{path}: scores of other weights than these; channels are chosen by them all the same.")
    layers = {layer.name: layer for layer in graph.layers}
    for name, values in scores.values.items():
        layer = layers.get(name)
        expected = layer and (layer.out_channels if scores.direction == "forward" else layer.in_channels)
        if len(values) != expected:
            raise ConfigError(
                f"scores: {len(values)} for {name}, which has {expected or 'no'} channels in this model; "
                "give scores of this model, or leave scores out"
            )
    return scores


def prove(
    graph: ChannelGraph, small: nn.Module, plan: Plan, wanted: bool | None, calibration: Calibration, log: RunLog
) -> float | None:
    """Removed against zeroed, if wanted or quick; on calibration images where random input decides nothing.

    Raises:
        GraphError: they differ, so the small network is not the one that the plan asks for.
    """
    if wanted is False:
        return None
    if wanted is None and _seconds_to_verify(plan, graph) > VERIFY_SECONDS:
        log.note(f"not verified, since that may take over {VERIFY_SECONDS:.0f} s; --verify does it.")
        return None
    with log.stage("verify") as stage:
        proof = verify(graph.model, small, plan)
        if proof.undecided:
            images = _images_like_the_example(graph, calibration)
            proof = proof if images is None else verify(graph.model, small, plan, inputs=images)
        if not proof.undecided:
            stage.note = f"removed = zeroed {f'to {proof:.1e} relative' if proof else 'exactly'}, in {proof.dtype}"
    if proof.undecided:
        log.note(f"not verified: {proof.undecided}.")
        return None
    if not proof.holds:
        raise GraphError(
            f"verify: removing differs from zeroing by {proof:.1e} (at most {proof.tolerance:.0e} is rounding"
            f"{'; ' + proof.note if proof.note else ''}); "
            "please report this network, and use --no-verify only if you know why"
        )
    if proof.note:
        log.note(f"verify: {proof.note}.")
    return float(proof)


def _images_like_the_example(graph: ChannelGraph, calibration: Calibration) -> Tensor | None:
    """Calibration images, as many as the network was traced with; None where there are none, or no such input."""
    if not isinstance(graph.inputs, Tensor) or graph.inputs.dim() != 4:
        return None
    try:
        images: Tensor = calibration.images()[: len(graph.inputs)]
        return images.to(graph.inputs)
    except ReconvError:
        return None


def _seconds_to_verify(plan: Plan, graph: ChannelGraph) -> float:
    """About, on two cores: both networks in float64. Counted and not timed, so that a busy machine decides alike."""
    return graph.images * sum(plan.macs) / _FLOAT64_MACS_PER_SECOND
