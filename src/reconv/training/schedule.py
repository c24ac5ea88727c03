"""The learning rate, as a function of the step: no state, so a resumed training needs none."""

from __future__ import annotations

import math

from reconv.training.protocol import Protocol


def learning_rate(protocol: Protocol, step: int, steps_per_epoch: int) -> float:
    """The learning rate of a step.

    With eta the protocol's learning rate, t the epochs before this step, T all epochs, W steps and w epochs
    of warm-up:

        step < W    eta (step + 1) / W
        constant    eta
        step        eta gamma^(number of milestones <= t)
        cosine      eta (1 + cos(pi (t - w) / (T - w))) / 2

    Args:
        protocol: gives schedule, milestones, warm-up.
        step: counted from 0 over the whole training.
        steps_per_epoch: steps in an epoch.
    """
    top = protocol.learning_rate
    warmup = round(protocol.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return top * (step + 1) / warmup
    if protocol.schedule == "step":
        passed = sum(milestone * steps_per_epoch <= step for milestone in protocol.milestones)
        return float(top * protocol.gamma**passed)
    if protocol.schedule == "cosine":
        rest = protocol.epochs * steps_per_epoch - warmup
        return top * (1 + math.cos(math.pi * (step - warmup) / max(rest, 1))) / 2
    return top
