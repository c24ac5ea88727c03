"""`trace`: record a run, settle what it says, and try cuts out until a cut copy does what was predicted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from reconv.errors import ConfigError, GraphError
from reconv.graph.channels import ChannelGraph
from reconv.graph.mend import Mender
from reconv.graph.questions import reads_sizes_of_layers
from reconv.graph.record import Record
from reconv.graph.rules import rule_of
from reconv.graph.settle import Answers, settle
from reconv.graph.stated import Member, state
from reconv.graph.trace import Recording, record_forward
from reconv.graph.trial import Failure, try_out
from reconv.registry import load_extensions

TRIALS = 60


def trace(
    model: nn.Module,
    example: Any,
    *,
    tie: Iterable[Sequence[Member]] = (),
    freeze: Iterable[str] = (),
) -> ChannelGraph:
    """Find the layers of a model, what each one sees, and which channels are tied.

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
        GraphError: the model does not run on the example, or has no layer. UnknownNameError, ConfigError: a layer or
            parameter in `tie` or `freeze` that there is not; channels tied that are not equally many.
    """
    load_extensions()
    tensors = [t for t in pytree.tree_leaves(example) if isinstance(t, Tensor)]
    if not tensors:
        raise GraphError(
            f"trace: the example is {type(example).__name__} without a tensor; give an input of the model, "
            "such as torch.zeros(1, 3, 224, 224)"
        )
    if isinstance(freeze, str):
        raise ConfigError(f"freeze: {freeze!r} is one text; give a list of patterns, such as [{freeze!r}]")
    with torch.random.fork_rng(devices=[]):
        recording = record_forward(model, example, rule_of)
        if not recording.record.calls:
            raise GraphError(
                f"{type(model).__name__}: its forward runs no convolution and no linear layer; "
                "there is nothing to prune"
            )
        state(recording.record, tie, freeze)
        return _tried_out(model, recording, example)


def _tried_out(model: nn.Module, recording: Recording, example: Any) -> ChannelGraph:
    answers = Answers(cautious=recording.fake is None)
    graph = settle(model, recording.record, example, answers)
    if answers.cautious or not _could_notice(model, recording.record):
        return graph
    mender = Mender(recording)
    for _ in range(TRIALS):
        failure = _first_failure(recording, graph, example)
        if failure is None:
            return graph
        answers = mender.improved(answers, graph, failure)
        graph = settle(model, recording.record, example, answers)
    # It never came right: what is doubted stays; if that is not enough, everything does.
    graph = settle(model, recording.record, example, replace(answers, cautious=True))
    if _first_failure(recording, graph, example) is None:
        return graph
    everything = np.arange(recording.record.space.count, dtype=np.int64)
    frozen = (*answers.frozen, (everything, "no cut copy of this model could be made to work"))
    return settle(model, recording.record, example, replace(answers, frozen=frozen))


def _could_notice(model: nn.Module, record: Record) -> bool:
    """Whether a cut could change what the model's code does, so that it has to be tried out."""
    space = record.space
    return bool(record.noticed or space.doubted or space.folds) or reads_sizes_of_layers(model)


def _first_failure(recording: Recording, graph: ChannelGraph, example: Any) -> Failure | None:
    """Where a cut copy departs from the prediction; a second cut is tried where the code counts positions."""
    for seed in range(2 if recording.record.space.doubted else 1):
        failure = try_out(recording, graph, example, rule_of, seed)
        if failure is not None:
            return failure
    return None
