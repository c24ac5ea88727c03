"""One training step, on Accelerate, and the state that it changes."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from reconv.data import DataSet, TrainingBatches
from reconv.data.augmentation import transforms
from reconv.data.randomness import derive_seed
from reconv.errors import ConfigError, TrainingError
from reconv.inputs import batch_size, call
from reconv.provenance import attach, provenance_of
from reconv.training.accelerator import Machine
from reconv.training.checkpoint import Checkpoint
from reconv.training.distillation import Teacher
from reconv.training.ema import MovingAverage
from reconv.training.evaluation import LossFunction, are_scores, normalization_for, scores_of, this_share
from reconv.training.losses import training_loss
from reconv.training.optimizer import build_optimizer, optimizer_tensors, restore_optimizer
from reconv.training.protocol import Protocol
from reconv.training.schedule import learning_rate
from reconv.training.starting_point import StartingPoint, freeze_statistics
from reconv.training.synchronized import synchronize_batch_norm


class Engine:
    """A copy of a model in training: weights, optimizer, moving average, gradient scaler."""

    def __init__(
        self,
        model: nn.Module,
        data: DataSet,
        protocol: Protocol,
        *,
        seed: int,
        teacher: nn.Module | None,
        machine: Machine,
        loss: LossFunction | None = None,
        classes: int = 0,
        labels: bool = True,
    ) -> None:
        """Copy the model to the machine's device and wrap it for training; `labels`: whether they are learned."""
        self.protocol, self.seed, self._loss, self._learns_labels = protocol, seed, loss, labels
        self.accelerator, self.device = machine.accelerator, machine.device
        self._original = model
        normalization = normalization_for(model, data)
        self._provenance = provenance_of(model)
        if normalization is not None:
            self._provenance = replace(self._provenance, normalization=normalization)
        self.batches = TrainingBatches(
            data.train,
            normalization,
            protocol.batch_size,
            protocol.augmentation,
            seed=seed,
            device=self.device,
            share=this_share(),
        )
        order = torch.channels_last if protocol.channels_last else torch.contiguous_format
        self._order = order
        self.inner = copy.deepcopy(model).to(self.device).to(memory_format=order).train()
        if protocol.frozen_norms:
            freeze_statistics(self.inner)
        if self.accelerator.num_processes > 1:
            self.inner = synchronize_batch_norm(self.inner, self.device)
        self._plain_optimizer = build_optimizer(self.inner, protocol)
        self._start = StartingPoint(model, self.inner, protocol) if protocol.decay_to_start else None
        features = protocol.feature_distillation > 0
        self._teacher = None if teacher is None else Teacher(teacher, self.inner, self.device, features=features)
        self._wrapped, self._optimizer = self.accelerator.prepare(self.inner, self._plain_optimizer)
        if protocol.compile:
            self._wrapped = torch.compile(self._wrapped)
        self._mix = _mixing(protocol, data.num_classes or classes)
        self.average = MovingAverage(self.inner, protocol.ema) if protocol.ema else None
        self._tested = copy.deepcopy(model).to(self.device)

    def step(self, step: int, images: Any, labels: Any) -> tuple[Tensor, Tensor, float]:
        """Make one step.

        Args:
            step: counted from 0 over the whole training; with the seed and the process it decides what is
                random.
            images: this process's share, float `[b, C, H, W]`.
            labels: int64 `[b]`, or other targets.

        Returns:
            Loss and fraction of right answers (NaN where outputs are no scores of classes), both of this process's
            share and on the device, and the learning rate.
        """
        rate = self.rate(step)
        torch.manual_seed(derive_seed(self.seed, "step", step, self.accelerator.process_index))
        inputs, targets = self._mix(images, labels) if self._mix else (images, labels)
        number_of_images = batch_size(inputs)
        if isinstance(inputs, Tensor) and inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=self._order)
        parts = [(inputs, targets, labels)]
        if self.protocol.accumulate > 1:
            if not all(isinstance(value, Tensor) for value in parts[0]):
                raise ConfigError("accumulate: inputs and targets are no single tensors; give accumulate=1")
            parts = list(zip(*(tensor.chunk(self.protocol.accumulate) for tensor in parts[0])))
        loss, right = torch.zeros(2, device=self.device)
        for number, part in enumerate(parts, 1):
            last = number == len(parts)
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self._wrapped):
                part_loss, part_right = self._backward(part, batch_size(part[0]) / number_of_images)
            loss, right = loss + part_loss, right + part_right
        if self._start:
            self._start.pull()
        if self.protocol.clip_norm:
            self.accelerator.clip_grad_norm_(self.inner.parameters(), self.protocol.clip_norm)
        for group in self._plain_optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        self._optimizer.zero_grad()
        if self.average:
            self.average.update(self.inner, step)
        return loss, right / number_of_images, rate

    def _backward(self, part: tuple[Any, Any, Any], weight: float) -> tuple[Tensor, Tensor]:
        inputs, targets, labels = part
        if self._teacher:
            self._teacher.forget()
        outputs = call(self._wrapped, inputs)
        scores = scores_of(outputs, labels)
        with self.accelerator.autocast():
            taught = self._teacher.outputs(inputs) if self._teacher else None
        loss = training_loss(
            outputs, targets, labels, taught, self.protocol, self._loss, learns_labels=self._learns_labels
        )
        if self._teacher and self.protocol.feature_distillation:
            loss = loss + self.protocol.feature_distillation * self._teacher.feature_distance()
        loss = loss * weight
        self.accelerator.backward(loss)
        if not self._learns_labels or not are_scores(scores, labels):
            return loss.detach(), loss.new_tensor(math.nan)
        return loss.detach(), (scores.detach().argmax(1) == labels).sum()

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        return learning_rate(self.protocol, step, self.batches.steps)

    def mean(self, values: Tensor) -> Tensor:
        """The mean of each value over all processes."""
        return self.accelerator.reduce(values, "mean") if self.accelerator.num_processes > 1 else values

    # --- what comes out
    # --------------------------------------------------------------------------------------

    def _weights(self) -> Mapping[str, Tensor]:
        return self.average.tensors if self.average else self.inner.state_dict()

    def tested(self) -> nn.Module:
        """The model as it stands, on the training's device; valid until the next call."""
        self._tested.load_state_dict(self._weights())
        return attach(self._tested, self._provenance)

    def result(self) -> nn.Module:
        """The model as it stands: like the original, on its device, and telling what its input was normalized
        by."""
        model = copy.deepcopy(self._original)
        model.load_state_dict(self._weights())
        return attach(model, self._provenance)

    def start(self) -> nn.Module:
        """The model as the training began with it, in the same form as `result`."""
        return attach(copy.deepcopy(self._original), self._provenance)

    # --- saving and going on
    # ----------------------------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """Everything that training changes and that is a tensor."""
        parts = {
            "model": self.inner.state_dict(),
            "optimizer": optimizer_tensors(self.inner, self._plain_optimizer),
            "ema": self.average.tensors if self.average else {},
        }
        return {f"{part}/{name}": value for part, values in parts.items() for name, value in values.items()}

    def scaler_state(self) -> dict[str, Any]:
        """The gradient scaler's numbers; empty without one."""
        return dict(self.accelerator.scaler.state_dict()) if self.accelerator.scaler else {}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Be where a checkpoint was written.

        Raises:
            TrainingError: its tensors do not fit the model.
        """
        try:
            self.inner.load_state_dict(checkpoint.part("model"))
            restore_optimizer(self.inner, self._plain_optimizer, checkpoint.part("optimizer"))
            if self.average:
                self.average.restore(checkpoint.part("ema"))
            if self.accelerator.scaler:
                self.accelerator.scaler.load_state_dict(dict(checkpoint.progress["scaler"]))
        except (KeyError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise TrainingError(
                f"checkpoint of step {checkpoint.step}: does not fit the model: {reason}; "
                "resume with the model that the training began with."
            ) from None


def _mixing(protocol: Protocol, classes: int) -> Any:
    """torchvision's MixUp, CutMix, or one of them at random for each batch; None for neither."""
    if not protocol.mixup and not protocol.cutmix:
        return None
    v2 = transforms()
    ways = [
        kind(alpha=alpha, num_classes=classes)
        for kind, alpha in ((v2.MixUp, protocol.mixup), (v2.CutMix, protocol.cutmix))
        if alpha
    ]
    return ways[0] if len(ways) == 1 else v2.RandomChoice(ways)
