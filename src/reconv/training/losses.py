"""What a training minimizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import functional

from reconv.training.protocol import Protocol

LossFunction = Callable[[Any, Any], Tensor]


def training_loss(
    scores: Any, targets: Any, teacher: Tensor | None, protocol: Protocol, loss: LossFunction | None = None
) -> Tensor:
    """Cross-entropy, smoothed, or another loss, and with a teacher the distance to its softened scores.

        (1 - a) CE(scores, targets) + a T^2 KL(softmax(teacher / T) || softmax(scores / T))

    T^2 keeps the second gradient's size independent of T.

    Args:
        scores: `[n, classes]`; with a loss of one's own whatever it takes.
        targets: labels, int64 `[n]`, or probabilities `[n, classes]`; or whatever the loss takes.
        teacher: its scores `[n, classes]`, or None: then a is 0.
        protocol: gives a (`distillation`), T (`temperature`) and the smoothing.
        loss: of outputs and targets, in place of cross-entropy.

    Returns:
        The mean over the images, in nats.

    Source: Hinton, Vinyals, Dean, *Distilling the Knowledge in a Neural Network* (2015).
    """
    if loss is not None:
        hard = loss(scores, targets)
    else:
        hard = functional.cross_entropy(scores, targets, label_smoothing=protocol.label_smoothing)
    if teacher is None:
        return hard
    T, a = protocol.temperature, protocol.distillation
    log_p, log_q = (functional.log_softmax(x.float() / T, dim=1) for x in (scores, teacher))
    soft = functional.kl_div(log_p, log_q, reduction="batchmean", log_target=True)
    return (1 - a) * hard + a * T * T * soft
