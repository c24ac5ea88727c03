"""Stages of a run, each a function of what the one before it gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from reconv.artifacts import load_saliency
from reconv.budget import Rescale
from reconv.cost import Latency, measure_latency
from reconv.data import DataSet, calibration_images
from reconv.errors import ConfigError, GraphError
from reconv.files import tensors_fingerprint
from reconv.graph import ChannelGraph
from reconv.pipeline.config import Cut, RunConfig, Schooling
from reconv.pipeline.inputs import teacher_of
from reconv.pipeline.looking import moments_for, repaired
from reconv.pipeline.watch import Diary
from reconv.plan import ALLOCATED, Plan, Scheme, choose, choose_widths
from reconv.provenance import provenance_of
from reconv.published_scores import read_published_scores
from reconv.refit import curves_of
from reconv.report.numbers import counted, percent
from reconv.saliency import Moments, Saliency, score
from reconv.surgery import prune, verify
from reconv.training import Session, Trained, evaluate, load_protocol, recalibrate, train
from reconv.training.evaluation import normalization_for
from reconv.zoo import load_recipe

BATCHES = (1, 64)  # that latency is measured with
LATENCY_SECONDS = 10.0  # spent on each of them, about
VERIFY_SECONDS = 10.0  # a proof that takes longer waits to be asked for
_FLOAT64_MACS_A_SECOND = 3e9
TOLERANCE = 1e-10  # what the proof may find in float64; rounding alone gives about 1e-15


@dataclass(frozen=True, eq=False)
class CutNetwork:
    """A network cut smaller.

    Args:
        saliency, plan: by which scores, by which plan.
        model: the smaller network.
        error: how far removing is from zeroing, relative, in float64; None: not looked for.
    """

    saliency: Saliency
    plan: Plan
    model: nn.Module
    error: float | None


def read_scores(path: str | Path, model: nn.Module) -> Saliency:
    """Scores from a file that reconv saved, or from one published with the paper (`.py`; it is parsed, never run)."""
    if Path(path).suffix == ".py":
        published = read_published_scores(path, model)
        return Saliency(published.criterion, "forward", published.values)
    return load_saliency(path)


def saliency_for(
    graph: ChannelGraph, cut: Cut, seed: int, diary: Diary, moments: Mapping[str, Moments] | None = None
) -> Saliency:
    """Scores as a cut asks for them: read where it names a file, computed otherwise, some from images (`moments`)."""
    if cut.scores is None:
        return score(graph, cut.criterion, direction=cut.direction, exact=cut.exact, seed=seed, moments=moments)
    saliency = read_scores(cut.scores, graph.model)
    if saliency.weights and saliency.weights != tensors_fingerprint(graph.model.state_dict()):
        diary.note(f"{cut.scores}: scores of other weights than these; the cut goes by them all the same.")
    return saliency


def choose_plan(
    graph: ChannelGraph, saliency: Saliency, cut: Cut, moments: Mapping[str, Moments] | None = None
) -> Plan:
    """The plan that a cut asks for: by budget, or by one of the paper's configurations."""
    for layer, values in saliency.values.items():
        known = next((known for known in graph.layers if known.name == layer), None)
        expected = known and (known.out_channels if saliency.direction == "forward" else known.in_channels)
        if len(values) != expected:
            raise ConfigError(
                f"scores: {len(values)} for {layer}, which has {expected or 'no'} channels in this model; "
                "give scores of this model, or leave --scores out"
            )
    if cut.scheme == ALLOCATED:
        assert moments is not None  # see Cut.looks_at_images
        assert cut.budget is not None  # Cut sees to it
        curves = curves_of(graph, saliency, moments, coupled=cut.coupled, reverse=cut.reverse)
        return choose(graph, curves, cut.budget, coupled=cut.coupled, limits=cut.limits)
    if cut.recipe is None:
        assert cut.budget is not None  # Cut holds exactly one of them
        return choose(
            graph,
            saliency,
            cut.budget,
            scheme=cast(Scheme, cut.scheme),
            coupled=cut.coupled,
            reverse=cut.reverse,
            rescale=cast(Rescale, cut.rescale),
            limits=cut.limits,
        )
    widths = _recipe_widths(graph, cut.recipe)
    return choose_widths(graph, saliency, widths, reverse=cut.reverse)


def _recipe_widths(graph: ChannelGraph, number: int) -> dict[str, int]:
    spec = provenance_of(graph.model).spec
    if spec is None:
        raise ConfigError("recipe: it is for a model by name, and this one has none; give a budget")
    convolutions = {layer.name: layer.out_channels for layer in graph.layers if layer.kind == "conv"}
    return load_recipe(spec.name, number).widths(convolutions)


def cut_network(graph: ChannelGraph, config: RunConfig, diary: Diary, data: DataSet | None = None) -> CutNetwork:
    """Score, choose, prune, and prove."""
    cut = config.cut
    moments = moments_for(graph, config, data, diary)
    with diary.stage("score channels") as stage:
        saliency = saliency_for(graph, cut, config.seed, diary, moments)
        stage.note = f"{saliency.criterion}, {counted(sum(map(len, saliency.values.values())), 'channel')}"
    with diary.stage("choose and cut") as stage:
        plan = choose_plan(graph, saliency, cut, moments)
        small = prune(graph.model, plan)
        macs, params = (percent(after / before) for before, after in (plan.macs, plan.params))
        stage.note = f"{macs} of MACs, {params} of parameters left"
    return CutNetwork(saliency, plan, small, proof(graph, small, plan, config.verify, diary))


def proof(graph: ChannelGraph, small: nn.Module, plan: Plan, wanted: bool | None, diary: Diary) -> float | None:
    """Removed against zeroed, in float64, if wanted or quick.

    Raises:
        GraphError: they differ, so the small network is not the one asked for.
    """
    if wanted is False:
        return None
    if wanted is None and _seconds_to_verify(plan, graph) > VERIFY_SECONDS:
        diary.note(f"not verified, since that may take over {VERIFY_SECONDS:.0f} s; --verify does it.")
        return None
    with diary.stage("verify") as stage:
        error = verify(graph.model, small, plan)
        stage.note = f"removed = zeroed {f'to {error:.1e} relative' if error else 'exactly'}, in float64"
    if not error <= TOLERANCE:
        raise GraphError(
            f"verify: removing differs from zeroing by {error:.1e} (at most {TOLERANCE:.0e} is rounding); "
            "please report this network, and use --no-verify only if you know why"
        )
    return error


def _seconds_to_verify(plan: Plan, graph: ChannelGraph) -> float:
    """About, on two cores: both networks in float64. Counted and not timed, so that a busy machine decides alike."""
    images = graph.example[0][0]
    return images * sum(plan.macs) / _FLOAT64_MACS_A_SECOND


def mended(cut: CutNetwork, data: DataSet | None, config: RunConfig, diary: Diary) -> nn.Module:
    """The cut network after recalibration or repair, where asked for; the network it was cut from is the reference."""
    if config.repair:
        if config.recalibrate:
            diary.note("recalibration is left out: a repair sets BatchNorm's statistics, and another look undoes it.")
        return solve_anew(cut, data, config, diary)
    if config.recalibrate and data is not None:
        return refresh_batch_norm(cut.model, data, config.recalibrate, config.seed, diary)
    return cut.model


def school(
    model: nn.Module,
    data: DataSet,
    how: Schooling,
    title: str,
    config: RunConfig,
    session: Session,
    diary: Diary,
    base: nn.Module | None = None,
) -> Trained:
    """Train, or fine-tune, as a schooling says, with `base` for the network before the cut; no epochs leave the model
    as it is."""
    protocol = load_protocol(how.protocol, data.name, how.overrides)
    if protocol.epochs == 0:
        return Trained(model, ())
    teacher = teacher_of(how, config, base)
    with diary.stage(title, shows_itself=True) as stage:
        trained = train(model, data, protocol, seed=config.seed, teacher=teacher, session=session)
        last = trained.history[-1].validation
        stage.accuracy = last.top1 if last else None
        stage.note = f"{protocol.name}, {counted(protocol.epochs, 'epoch')}, last one kept" + (
            ", with a teacher" if teacher else ""
        )
    return trained


def refresh_batch_norm(model: nn.Module, data: DataSet, number: int, seed: int, diary: Diary) -> nn.Module:
    """BatchNorm's statistics from training images, without their labels."""
    with diary.stage("recalibrate BatchNorm") as stage:
        images = calibration_images(data, number, seed, normalization=normalization_for(model, data))
        fresh = recalibrate(model, images)
        stage.accuracy = validation_accuracy(fresh, data)
        stage.note = f"{len(images):,} training images"
    return fresh


def solve_anew(cut: CutNetwork, data: DataSet | None, config: RunConfig, diary: Diary) -> nn.Module:
    """The layers around the cut by least squares, from images without labels."""
    with diary.stage("repair") as stage:
        model, report, source = repaired(cut.model, cut.plan, config, data)
        stage.accuracy = None if data is None else validation_accuracy(model, data)
        stage.note = f"{counted(len(report.layers), 'layer')} solved anew {source}"
    for layer, why in report.left.items():
        diary.note(f"repair: {layer} is left as it is: {why}.")
    return model


def validation_accuracy(model: nn.Module, data: DataSet) -> float | None:
    """Top-1 on the validation split; None where there is none."""
    return evaluate(model, data, "validation").top1 if len(data.validation) else None


def latencies(
    models: Sequence[nn.Module], data: DataSet, device: torch.device
) -> tuple[tuple[Latency, ...], tuple[Latency, ...]]:
    """For each network one entry a batch size; as many passes as the time allows."""
    rows = [timed_in_turns(models, data, batch, device, seconds=LATENCY_SECONDS) for batch in BATCHES]
    before, after = zip(*rows, strict=True)
    return before, after


def timed_in_turns(
    models: Sequence[nn.Module], data: DataSet, batch: int, device: torch.device, *, seconds: float
) -> list[Latency]:
    """The latency of each model at a batch size: as many passes as the seconds allow, 7 to 51."""
    return measure_latency(models, random_images(data, batch, device), runs=51, seconds=seconds)


def random_images(data: DataSet, batch: int, device: torch.device) -> Tensor:
    """Standard normal images, for timing; zeros would be too easy for some kernels."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, *data.input_size, generator=generator).to(device)
