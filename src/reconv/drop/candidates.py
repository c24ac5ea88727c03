"""Networks that are tried: pruned, and made to compute what the original did, as the steps that train nothing do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from reconv.plan import Plan
from reconv.quality import Quality
from reconv.runlog import RunLog
from reconv.steps import Context, Step


def quiet(context: Context) -> Context:
    """The same for steps of which nobody is told, and after which nothing is measured."""
    return replace(context, quality=Quality(None), log=RunLog())


def calibrated(pruned: nn.Module, plan: Plan, steps: Sequence[Step], context: Context) -> nn.Module:
    """A pruned network after those steps that look at calibration images alone.

    Args:
        pruned: by `plan`. steps: of the compression. context: of these.
    """
    for step in steps:
        if step.in_each_round:
            pruned = step.apply(pruned, plan, context)
    return pruned
