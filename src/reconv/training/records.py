"""What a training reports while it runs, and to whom."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reconv.training.evaluation import Evaluation


@dataclass(frozen=True)
class Outline:
    """What a training is about to do.

    Attributes:
        epochs, steps_per_epoch, images_per_step: over all processes together.
        first_step: where it goes on; 0 unless resumed.
    """

    epochs: int
    steps_per_epoch: int
    images_per_step: int
    first_step: int


@dataclass(frozen=True)
class StepRecord:
    """One step.

    Attributes:
        step: counted from 0 over the whole training.
        loss: mean over the step's images, of all processes.
        top1: the fraction of them that was right; NaN where outputs are no scores of classes.
        learning_rate: that the step was made with.
    """

    step: int
    loss: float
    top1: float
    learning_rate: float


@dataclass(frozen=True)
class EpochRecord:
    """One epoch.

    Attributes:
        epoch: counted from 1.
        step: steps done when it ended.
        loss, top1: means over the epoch's steps, on augmented training images, while the weights changed;
            top1 may be NaN.
        learning_rate: of its last step.
        seconds: spent on its steps.
        images_per_second: training images, over all processes.
        validation: figures at its end; None if there are no validation images.
    """

    epoch: int
    step: int
    loss: float
    top1: float
    learning_rate: float
    seconds: float
    images_per_second: float
    validation: Evaluation | None

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return vars(self) | {
            "validation": self.validation and self.validation.to_json(),
            "top1": None if math.isnan(self.top1) else self.top1,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> EpochRecord:
        """The record that `to_json` wrote."""
        validation = values["validation"]
        top1 = math.nan if values["top1"] is None else values["top1"]
        return cls(**{**values, "top1": top1, "validation": Evaluation.from_json(validation) if validation else None})


class Listener:
    """Receives what happens in a training; override what is wanted. Only the first process has listeners."""

    def start(self, outline: Outline) -> None:
        """Training begins, or goes on."""

    def step(self, record: StepRecord) -> None:
        """A step is done. On an accelerator steps come in groups, since reading a loss makes it wait."""

    def epoch(self, record: EpochRecord) -> None:
        """An epoch is done, its validation too."""

    def note(self, text: str) -> None:
        """Something the user should read."""

    def stop(self) -> None:
        """Training has ended, for whatever reason."""
