"""`trace`: record a run, settle what it says, and try cuts out until a cut copy does what was predicted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from reconv.errors import GraphError
from reconv.graph.channels import ChannelGraph
from reconv.graph.mend import Mender
from reconv.graph.rules import rule_of
from reconv.graph.settle import Answers, settle
from reconv.graph.trace import Recording, record_forward
from reconv.graph.trial import Failure, try_out

TRIALS = 60


def trace(model: nn.Module, example: Any) -> ChannelGraph:
    """Find the layers of a model, what each one sees, and which channels are tied.

    The forward pass runs without data: once to learn, and again on copies from which every group has lost channels,
    until they do what was predicted. Nothing of the model changes.

    Args:
        model: any module.
        example: one tensor such as `torch.zeros(1, 3, 32, 32)`, a tuple of arguments, or a mapping of keywords.

    Returns:
        The graph that `score`, `choose` and `prune` work with.

    Raises:
        GraphError: the model does not run on the example, or has no layer.
    """
    tensors = [t for t in pytree.tree_leaves(example) if isinstance(t, Tensor)]
    if not tensors:
        raise GraphError(
            f"trace: the example is {type(example).__name__} without a tensor; give an input of the model, "
            "such as torch.zeros(1, 3, 224, 224)"
        )
    with torch.random.fork_rng(devices=[]):
        recording = record_forward(model, example, rule_of)
        if not recording.record.calls:
            raise GraphError(
                f"{type(model).__name__}: its forward runs no convolution and no linear layer; "
                "there is nothing to prune"
            )
        return _tried_out(model, recording, example)


def _tried_out(model: nn.Module, recording: Recording, example: Any) -> ChannelGraph:
    answers = Answers(cautious=recording.fake is None)
    graph = settle(model, recording.record, example, answers)
    if answers.cautious:
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


def _first_failure(recording: Recording, graph: ChannelGraph, example: Any) -> Failure | None:
    """Where a cut copy departs from the prediction; a second cut is tried where the code counts positions."""
    for seed in range(2 if recording.record.space.doubted else 1):
        failure = try_out(recording, graph, example, rule_of, seed)
        if failure is not None:
            return failure
    return None
