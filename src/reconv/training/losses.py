"""What a training minimizes."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional

from reconv.training.distillation import output_distance
from reconv.training.evaluation import LossFunction, scores_of
from reconv.training.protocol import Protocol


def training_loss(
    outputs: Any,
    targets: Any,
    labels: Any,
    taught: Any,
    protocol: Protocol,
    loss: LossFunction | None = None,
    *,
    learns_labels: bool = True,
) -> Tensor:
    """Cross-entropy, smoothed, or another loss, and with a teacher the distance to its outputs.

        (1 - a) CE(scores, targets) + a T^2 KL(softmax(taught / T) || softmax(scores / T))

    T^2 keeps the second gradient's size independent of T. Outputs that are no scores of classes are compared as
    `output_distance` says.

    Args:
        outputs: scores `[n, classes]`; with a loss of one's own whatever it takes.
        targets: labels, int64 `[n]`, or probabilities `[n, classes]`; or whatever the loss takes.
        labels: int64 `[n]`, before images were mixed; or other targets.
        taught: the teacher's outputs, or None: then a is 0.
        protocol: gives a (`distillation`), T (`temperature`) and the smoothing.
        loss: of outputs and targets, in place of cross-entropy.
        learns_labels: False: the distance to the teacher alone; a is 1.

    Returns:
        The mean over the images, in nats.

    Source: Hinton, Vinyals, Dean, *Distilling the Knowledge in a Neural Network* (2015).
    """
    if not learns_labels:
        return output_distance(outputs, taught, labels, protocol.temperature)
    if loss is not None:
        hard = loss(outputs, targets)
    else:
        hard = functional.cross_entropy(scores_of(outputs, labels), targets, label_smoothing=protocol.label_smoothing)
    if taught is None:
        return hard
    a = protocol.distillation
    return (1 - a) * hard + a * output_distance(outputs, taught, labels, protocol.temperature)
