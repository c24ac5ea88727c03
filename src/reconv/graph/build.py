"""`trace`: record a run, solve what it says, and repeat dry runs until a cut copy does what was predicted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from reconv.errors import ConfigError, GraphError, check_kind
from reconv.graph.batch import images_in
from reconv.graph.channels import ChannelGraph, ChannelGroup
from reconv.graph.constraints import Constraints, solve_constraints
from reconv.graph.dry_run import Failure, cut_alone, generic_cuts, run_cut_copy
from reconv.graph.leftovers import leftovers_removed
from reconv.graph.questions import reads_sizes_of_layers
from reconv.graph.record import Record
from reconv.graph.refine import Refiner, culprits
from reconv.graph.rules import rule_of
from reconv.graph.tracing import Recording, record_forward
from reconv.graph.trial import Trial
from reconv.graph.user_constraints import Member, add_user_constraints
from reconv.graph.wrapped import check_unwrapped
from reconv.graph.zeros import freeze_lossy_sums
from reconv.registry import load_extensions

TRIALS = 60
MOST_FAILURES = 8


def trace(
    model: nn.Module,
    example: Any,
    *,
    tie: Iterable[Sequence[Member]] = (),
    freeze: Iterable[str] = (),
) -> ChannelGraph:
    """Find the layers of a model, their inputs, and which channels are tied.

    The forward pass runs without data: once to learn, and again on copies from which every group has lost channels,
    until they do what was predicted. Nothing of the model changes.

    Args:
        model: any module.
        example: one tensor such as `torch.zeros(1, 3, 32, 32)`, a tuple of arguments, or a mapping of keywords.
        tie: groups declared by hand, such as `[("layer1.conv1", "layer2.conv1")]`: their channels go together, index by
            index. A member is a layer, or an axis of a parameter: `("gamma", 0)`.
        freeze: patterns of names of layers whose output channels stay, such as `["layer4.*"]`.

    Returns:
        The graph that `score`, `choose` and `prune` work with.

    Raises:
        GraphError: the model does not run on the example, has no layer, cannot be copied, or is compiled, scripted or
            distributed. UnknownNameError, ConfigError: a layer or
            parameter in `tie` or `freeze` that does not exist; tied channels of different number.

    Example:
        >>> import torch, reconv
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), torch.nn.ReLU(), torch.nn.Conv2d(16, 8, 3))
        >>> reconv.trace(model, torch.zeros(1, 3, 8, 8))
        2 layers, 2 groups of channels
          0: 16 channels of 1 layer; free
          2: 8 channels of 1 layer; network output (classifier)
    """
    check_kind("trace: model", model, nn.Module)
    check_unwrapped(model)
    load_extensions()
    tensors = [t for t in pytree.tree_leaves(example) if isinstance(t, Tensor)]
    if not tensors:
        raise GraphError(
            f"trace: the example is {type(example).__name__} without a tensor; give an input of the model, "
            "such as torch.zeros(1, 3, 224, 224)"
        )
    if isinstance(freeze, str):
        raise ConfigError(f"freeze: {freeze!r} is one text; give a list of patterns, such as [{freeze!r}]")
    with torch.random.fork_rng(devices=[]), leftovers_removed(model):
        recording = record_forward(model, example, rule_of)
        if not recording.record.calls:
            raise GraphError(
                f"{type(model).__name__}: its forward runs no convolution and no linear layer; "
                "there is nothing to prune"
            )
        recording.record.images = images_in(model, example, recording.record)
        freeze_lossy_sums(recording.record)
        add_user_constraints(recording.record, tie, freeze)
        return _refine(model, recording, example)


def _refine(model: nn.Module, recording: Recording, example: Any) -> ChannelGraph:
    constraints = Constraints(cautious=recording.fake is None)
    graph = solve_constraints(model, recording.record, example, constraints)
    if constraints.cautious:
        return _tried_on_real_tensors(model, recording, example, constraints, graph)
    if not _could_notice(model, recording.record):
        return graph
    refiner = Refiner(recording, lambda cut, keep: run_cut_copy(recording, cut, example, rule_of, keep))
    for _ in range(TRIALS):
        failure = _first_failure(recording, graph, example)
        if failure is None:
            return graph
        constraints = refiner.refine(constraints, graph, failure)
        graph = solve_constraints(model, recording.record, example, constraints)
    # No dry run succeeded: channels in doubt stay; if that is not enough, all do.
    graph = solve_constraints(model, recording.record, example, replace(constraints, cautious=True))
    if _first_failure(recording, graph, example) is None:
        return graph
    everything = np.arange(recording.record.space.count, dtype=np.int64)
    frozen = (*constraints.frozen, (everything, "no cut copy of this model runs"))
    return solve_constraints(model, recording.record, example, replace(constraints, frozen=frozen))


def _tried_on_real_tensors(
    model: nn.Module, recording: Recording, example: Any, constraints: Constraints, graph: ChannelGraph
) -> ChannelGraph:
    """A pruned copy runs, and what fails stays; for a forward that looks at values no dry run is possible."""
    trial = Trial(model, example)
    for _ in range(MOST_FAILURES):
        tried = ((keep, trial.failure(graph, keep)) for keep in generic_cuts(graph, doubted=False))
        keep, why = next(((keep, why) for keep, why in tried if why is not None), (None, ""))
        if keep is None:
            break
        way = [trial.failing] if trial.failing is not None else None
        reasons: dict[str, str] = {}

        def fails(groups: Sequence[ChannelGroup], cut: ChannelGraph = graph, ways: Any = way) -> bool:
            found = trial.failure(cut, cut_alone(cut, groups, keep), ways)  # noqa: B023
            if found is not None and len(groups) == 1:
                reasons[groups[0].name] = found  # noqa: B023
            return found is not None

        for group in culprits([g for g in graph.groups if g.free.any()], fails):
            units = np.flatnonzero(np.isin(graph.labels, group.units))
            reason = f"a pruned copy fails on real tensors: {reasons.get(group.name, why)}"
            constraints = replace(constraints, frozen=(*constraints.frozen, (units, reason)))
        graph = solve_constraints(model, recording.record, example, constraints)
    else:
        everything = np.arange(recording.record.space.count, dtype=np.int64)
        frozen = (*constraints.frozen, (everything, "no pruned copy of this model runs on real tensors"))
        graph = solve_constraints(model, recording.record, example, replace(constraints, frozen=frozen))
    note = (
        f"its forward {recording.why_with_data}, so that channels in doubt stay, and pruned copies were tried on real "
        f"tensors ({trial.passes} forward passes)"
    )
    if trial.undecided:
        note += "; its outputs jump with the smallest change of a weight, and only their being there was compared"
    return replace(graph, notes=(*graph.notes, note))


def _could_notice(model: nn.Module, record: Record) -> bool:
    """Whether a cut could change what the model's code does, so that a dry run is needed."""
    space = record.space
    return bool(record.noticed or space.doubted or space.folds) or reads_sizes_of_layers(model)


def _first_failure(recording: Recording, graph: ChannelGraph, example: Any) -> Failure | None:
    """Where a cut copy departs from the prediction."""
    for keep in generic_cuts(graph, doubted=bool(recording.record.space.doubted)):
        failure = run_cut_copy(recording, graph, example, rule_of, keep)
        if failure is not None:
            return replace(failure, cut=keep)
    return None
