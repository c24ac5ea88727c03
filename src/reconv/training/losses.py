"""What a training makes small."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from reconv.training.protocol import Protocol


def training_loss(scores: Tensor, targets: Tensor, teacher: Tensor | None, protocol: Protocol) -> Tensor:
    """Cross-entropy, smoothed, and with a teacher the distance to its softened scores.

        (1 - a) CE(scores, targets) + a T^2 KL(softmax(teacher / T) || softmax(scores / T))

    T^2 keeps the second gradient's size independent of T.

    Args:
        scores: `[n, classes]`.
        targets: labels, int64 `[n]`, or probabilities `[n, classes]`.
        teacher: its scores `[n, classes]`, or None: then a is 0.
        protocol: gives a (`distillation`), T (`temperature`) and the smoothing.

    Returns:
        The mean over the images, in nats.

    Source: Hinton, Vinyals, Dean, *Distilling the Knowledge in a Neural Network* (2015).
    """
    hard = functional.cross_entropy(scores, targets, label_smoothing=protocol.label_smoothing)
    if teacher is None:
        return hard
    T, a = protocol.temperature, protocol.distillation
    log_p, log_q = (functional.log_softmax(x.float() / T, dim=1) for x in (scores, teacher))
    soft = functional.kl_div(log_p, log_q, reduction="batchmean", log_target=True)
    return (1 - a) * hard + a * T * T * soft
