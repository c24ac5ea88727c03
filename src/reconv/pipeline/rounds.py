"""Iterative pruning: the budget in steps with a short training between, by the same verbs in a loop.

With s the share of the network that the budget leaves and R rounds, s^(k/R) of it is left after round k: each round
takes the same share of what the one before it left.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from reconv.data import DataSet
from reconv.errors import GraphError
from reconv.graph import ChannelGraph, trace
from reconv.pipeline import stages
from reconv.pipeline.config import RunConfig
from reconv.pipeline.folder import RunFolder
from reconv.pipeline.stages import CutNetwork
from reconv.pipeline.watch import Diary
from reconv.plan import Limits, Plan
from reconv.plan.plans import finish_plan
from reconv.plan.rounds import budget_of_round
from reconv.report import Round


@dataclass(frozen=True, eq=False)
class Rounds:
    """What several rounds gave.

    Args:
        last: the cut of the last round, of the network that `last.plan.graph` is of.
        whole: all rounds as one cut of the network that they began with, by the scores of the first round.
        facts: one entry a round, the last one's training still to come.
    """

    last: CutNetwork
    whole: CutNetwork
    facts: tuple[Round, ...] = ()


def stage_of(number: int) -> str:
    """What the training after a round is called."""
    return f"round {number}"


def with_budget_of(config: RunConfig, graph: ChannelGraph, number: int) -> RunConfig:
    """The configuration of one round, whose budget is a step towards the whole one.

    Args:
        config: of the run.
        graph: of the network before the first round.
        number: of the round, from 1.
    """
    if config.cut.budget is None:
        return config
    budget = budget_of_round(config.cut.budget, graph, number, config.rounds)
    return replace(config, cut=replace(config.cut, budget=budget))


def limits_left(limits: Limits, before: ChannelGraph, now: ChannelGraph) -> Limits:
    """Limits of the network before the first round, for the one that a round left.

    Args:
        limits: shares that may go at most are of the widths at the beginning.
        before, now: graphs of both.
    """
    if not limits.most:
        return limits
    widths = {layer.name: layer.out_channels for layer in now.layers}
    most = {
        layer.name: max(0.0, 1 - limits.least(layer.name, layer.out_channels) / widths[layer.name])
        for layer in before.layers
    }
    return replace(limits, most=most)


def first_cut(graph: ChannelGraph, config: RunConfig, data: DataSet | None, diary: Diary) -> CutNetwork:
    """The cut of the first round, or of the only one.

    Args:
        graph: of the network that the run begins with.
        config: of the run.
        data: images, for a choice that looks at them.
        diary: is told.
    """
    if config.rounds == 1:
        return stages.cut_network(graph, config, diary, data)
    with diary.part(stage_of(1)):
        return stages.cut_network(graph, with_budget_of(config, graph, 1), diary, data)


def work_off(
    graph: ChannelGraph, first: CutNetwork, config: RunConfig, data: DataSet | None, place: RunFolder, diary: Diary
) -> Rounds:
    """All rounds up to the last cut.

    After each round but the last the network is recalibrated or repaired, where asked for, trained shortly and kept
    in the folder, from where an interrupted run takes it.

    Args:
        graph: of the network before the first round.
        first: the cut of the first round.
        config: of the run.
        data: images; rounds need them.
        place, diary: where the run is kept, and told.
    """
    if config.rounds == 1 or data is None:
        return Rounds(first, first)
    cut = whole = first
    facts: list[Round] = []
    for number in range(1, config.rounds + 1):
        if number > 1:
            step = with_budget_of(config, first.plan.graph, number)
            step = replace(step, cut=replace(step.cut, limits=limits_left(config.cut.limits, first.plan.graph, graph)))
            with diary.part(stage_of(number)):
                cut = stages.cut_network(graph, step, diary, data)
            whole = _joined(whole, cut)
        facts.append(_round(number, cut, data))
        if number < config.rounds:
            small = _trained(number, first.plan.graph.model, cut, config, data, place, diary)
            facts[-1] = replace(facts[-1], after=stages.validation_accuracy(small, data))
            graph = trace(small, graph.inputs)
    return Rounds(cut, whole, tuple(facts))


def _round(number: int, cut: CutNetwork, data: DataSet) -> Round:
    as_cut = stages.validation_accuracy(cut.model, data)
    return Round(number, cut.plan.macs[1], cut.plan.params[1], as_cut)


def _trained(
    number: int, base: nn.Module, cut: CutNetwork, config: RunConfig, data: DataSet, place: RunFolder, diary: Diary
) -> nn.Module:
    """The network after a round: of an earlier try, or trained now."""
    name, stage = f"rounds/{number}", stage_of(number)
    found = place.model(name)
    if found is not None:
        return found.to(next(cut.model.parameters()).device)
    with diary.part(stage):
        small = stages.mended(cut, data, config, diary)
    small = stages.school(small, data, config.between, stage, config, place.session(stage), diary, base).model
    place.save_model(name, small)
    place.forget_checkpoints(stage)
    return small


def _joined(first: CutNetwork, then: CutNetwork) -> CutNetwork:
    """Two cuts, one of what the other left, as one."""
    errors = [cut.error for cut in (first, then) if cut.error is not None]
    return CutNetwork(first.saliency, joined_plan(first.plan, then.plan), then.model, max(errors, default=None))


def joined_plan(first: Plan, then: Plan) -> Plan:
    """Two plans, one for what the other left, as one plan for the network before both.

    Raises:
        GraphError: the second one's groups are not those that the first one left.
    """
    left = {row.name: row for row in then.groups}
    rows = []
    for row in first.groups:
        found = left.get(row.name)
        if found is None or found.size != len(row.kept):
            now = "is missing" if found is None else f"has {found.size} channels"
            raise GraphError(
                f"rounds: {row.name} {now} in the network that a round left, which kept {len(row.kept)}; "
                "please report this network, and prune it in one round"
            )
        kept = tuple(row.kept[position] for position in found.kept)
        rows.append(replace(row, kept=kept, why=found.why if len(kept) == row.size else ""))
    return finish_plan(
        first.graph,
        rows,
        then.request,
        then.criterion,
        then.scheme,
        notes=tuple(dict.fromkeys((*first.notes, *then.notes))),
        costs={name: (first.costs[name][0], pair[1]) for name, pair in then.costs.items() if name in first.costs},
    )
