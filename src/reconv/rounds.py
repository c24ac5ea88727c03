"""Iterative pruning: the budget in steps with a short training between.

With s the share of the network that the budget leaves and R rounds, s^(k/R) of it is left after round k: each round
takes the same share of what the one before it left.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from reconv.budget import Limits
from reconv.cache import Cache
from reconv.compression import Compression
from reconv.errors import GraphError
from reconv.graph import ChannelGraph, trace
from reconv.graph.branches import with_branches
from reconv.plan import Plan
from reconv.plan.plans import finish_plan
from reconv.plan.rounds import budget_of_round
from reconv.report import Round
from reconv.select import Pruned, check_feasible, prune_network
from reconv.steps import Context, Finetune, Step


@dataclass(frozen=True, eq=False)
class Rounds:
    """What several rounds give, or one.

    Args:
        last: the pruning of the last round, of the network that `last.plan.graph` is of.
        whole: all rounds as one pruning of the network that they began with, by the scores of the first round.
        facts: one entry per round, where there are several; the training after the last one is still to come.
    """

    last: Pruned
    whole: Pruned
    facts: tuple[Round, ...] = ()

    def facts_with(self, accuracy: float | None) -> tuple[Round, ...]:
        """The rounds, with the accuracy of the network in the end."""
        return (*self.facts[:-1], replace(self.facts[-1], after=accuracy)) if self.facts else ()


def title_of(number: int) -> str:
    """What the training after a round is called."""
    return f"round {number}"


def prune_in_rounds(
    graph: ChannelGraph, compression: Compression, after: tuple[Step, ...], context: Context, cache: Cache | None = None
) -> Rounds:
    """All rounds up to the last pruning.

    After each round but the last the network is repaired or recalibrated, as after the last one, and trained shortly.

    Args:
        graph: of the network before the first round. compression: what is removed, and in how many rounds.
        after: the steps after the last round. context: of them. cache: of this network.
    """
    if compression.rounds > 1:
        check_feasible(graph, compression)
    base, whole, facts = graph, None, []
    for number in range(1, compression.rounds + 1):
        with context.log.part(title_of(number) if compression.rounds > 1 else ""):
            options = of_round(compression, base, graph, number)
            pruned = prune_network(graph, options, context.calibration, context.log, cache, context.loss)
        whole, cache = joined(whole, pruned), None
        if number == 1:
            context.store.save("base", graph.model)
        if compression.rounds > 1:
            accuracy = context.quality.accuracy(pruned.model)
            facts.append(Round(number, pruned.plan.macs[1], pruned.plan.params[1], accuracy))
        if number < compression.rounds:
            small = _trained(number, pruned, compression.between, after, context)
            facts[-1] = replace(facts[-1], after=context.quality.accuracy(small))
            graph = trace(small, graph.inputs)
    return Rounds(pruned, whole or pruned, tuple(facts))


def _trained(number: int, pruned: Pruned, between: Finetune, after: tuple[Step, ...], context: Context) -> nn.Module:
    """The network after a round: of an earlier try, or trained now."""
    name, title, store = f"rounds/{number}", title_of(number), context.store
    small = store.load(name, context.base)
    if small is not None:
        return small.to(next(pruned.model.parameters()).device)
    small = pruned.model
    with context.log.part(title):
        for step in after:
            if step.in_each_round:
                small = step.apply(small, pruned.plan, context)
    small = between.train(small, context, title)
    store.save(name, small)
    store.finish(title)
    return small


def of_round(compression: Compression, before: ChannelGraph, now: ChannelGraph, number: int) -> Compression:
    """What one round removes: its budget is a step towards the whole one, its limits those of the unpruned network.

    Args:
        compression: of all rounds together.
        before, now: graphs of the network before the first round, and of the one that the last round left.
        number: of the round, from 1.
    """
    if compression.rounds == 1 or compression.budget is None:
        return compression
    budget = budget_of_round(compression.budget, before, number, compression.rounds)
    return replace(compression, budget=budget, limits=limits_left(compression.limits, before, now))


def limits_left(limits: Limits, before: ChannelGraph, now: ChannelGraph) -> Limits:
    """Limits of the network before the first round, for the one that a round left.

    Args:
        limits: shares that may go at most are of the widths at the beginning.
        before, now: graphs of both.
    """
    if not limits.most or before is now:
        return limits
    widths = {layer.name: layer.out_channels for layer in now.layers}
    most = {
        layer.name: max(0.0, 1 - limits.least(layer.name, layer.out_channels) / widths[layer.name])
        for layer in before.layers
        if layer.name in widths
    }
    return replace(limits, most=most)


def joined(first: Pruned | None, then: Pruned) -> Pruned:
    """Two prunings, one of what the other left, as one; by the scores of the first."""
    if first is None:
        return then
    errors = [pruned.error for pruned in (first, then) if pruned.error is not None]
    return Pruned(first.scores, joined_plan(first.plan, then.plan), then.model, max(errors, default=None))


def joined_plan(first: Plan, then: Plan) -> Plan:
    """Two plans, one for what the other left, as one plan for the network before both.

    Raises:
        GraphError: the second one's groups are not those that the first one left.
    """
    later = {row.name: row for row in then.groups}
    rows = []
    for row in first.groups:
        group = later.get(row.name)
        if not row.kept:  # its branch is gone
            rows.append(row)
            continue
        if group is None or group.size != len(row.kept):
            now = "is missing" if group is None else f"has {group.size} channels"
            raise GraphError(
                f"rounds: {row.name} {now} in the network that a round left, which kept {len(row.kept)}; "
                "please report this network, and prune it in one round"
            )
        kept = tuple(row.kept[position] for position in group.kept)
        rows.append(replace(row, kept=kept, why=group.why if len(kept) == row.size else ""))
    removed = tuple(dict.fromkeys((*first.removed, *then.removed)))
    graph = with_branches(first.graph) if removed else first.graph
    unknown = set(removed) - {branch.name for branch in graph.branches or () if not branch.reason}
    if unknown:
        raise GraphError(
            f"rounds: a round removed the branch {unknown.pop()}, and the network before it has none of this name; "
            "please report this network, and prune it in one round"
        )
    return finish_plan(
        graph,
        rows,
        then.request,
        then.criterion,
        then.scheme,
        notes=tuple(dict.fromkeys((*first.notes, *then.notes))),
        costs={name: (first.costs[name][0], pair[1]) for name, pair in then.costs.items() if name in first.costs},
        removed=removed,
    )
