"""Training, of a network or after pruning."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from reconv.errors import ConfigError
from reconv.steps.base import Context, Step

if TYPE_CHECKING:
    from torch import nn

    from reconv.data import DataSet
    from reconv.plan import Plan
    from reconv.training import Protocol

DEFAULT, DEFAULT_AFTER_REPAIR = "default-finetune", "default-after-repair"
FINETUNING = "fine-tuning"  # the training after the last pruning, in logs and folders
BASE = "base"  # as a teacher: the network before pruning


@dataclass(frozen=True)
class TrainConfig:
    """One training: a protocol, and what is changed in it.

    Args:
        protocol: how to train; a name of `reconv list protocols`, or the path of a TOML file.
        epochs: passes over the training images; 0: no training; None: the protocol's.
        batch_size: images per step; None: the protocol's.
        changes: other keys of the protocol, such as schedule=cosine.
        teacher: a saved network whose outputs are learned too, or "base" for the network before pruning.
        labels: learn the images' labels; without, a teacher's outputs are all that is learned: those of the network
            before pruning, where no other is named.
    """

    protocol: str = "default"
    epochs: int | None = None
    batch_size: int | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    teacher: str | None = None
    labels: bool = True

    def __post_init__(self) -> None:
        for name, value, least in (("epochs", self.epochs, 0), ("batch size", self.batch_size, 1)):
            if value is not None and value < least:
                raise ConfigError(f"{name}: {value}; give a whole number of at least {least}")
        for name, value in (("epochs", self.epochs), ("batch_size", self.batch_size)):
            if value is not None and self.changes.get(name, value) != value:
                raise ConfigError(f"{name}: {value}, and by --set {self.changes[name]}; give one of them")

    @property
    def overrides(self) -> dict[str, Any]:
        """Keys of the protocol that are changed."""
        pairs = {"epochs": self.epochs, "batch_size": self.batch_size}
        return {**self.changes, **{name: value for name, value in pairs.items() if value is not None}}

    def check(self, data_set: str) -> None:
        """Look up protocol and teacher."""
        from reconv.networks import teacher_network
        from reconv.training import load_protocol

        load_protocol(self.protocol, data_set, self.overrides)
        if self.teacher is not None and self.teacher != BASE:
            teacher_network(self.teacher)

    def train(self, model: nn.Module, context: Context, title: str) -> nn.Module:
        """Train a network as this says, under a title; no epochs leave it as it is."""
        from reconv.networks import teacher_network
        from reconv.report.numbers import counted
        from reconv.training import load_protocol, train

        data = self._images(context)
        if data is None or (self.labels and not data.labelled):
            raise ConfigError(f"{title}: it needs images with labels; give such data, or leave the training out")
        protocol = load_protocol(self.protocol, data.name, self.overrides)
        if protocol.epochs == 0:
            return model
        name = self.teacher_for(protocol)
        teacher = None if name is None else context.base if name == BASE else teacher_network(name)
        with context.log.stage(title, has_own_bar=True) as stage:
            trained = train(
                model,
                data,
                protocol,
                loss=context.loss if self.labels else None,
                metric=context.quality.metric,
                seed=context.seed,
                teacher=teacher,
                labels=self.labels,
                session=context.store.session(title, context.log.progress),
            )
            context.store.history[title] = trained.history
            last = trained.history[-1].validation
            top1 = last.top1 if last and self.labels and context.quality.is_share else math.nan
            stage.accuracy = None if math.isnan(top1) else top1
            taught = ", with a teacher" if teacher else ""
            kept = "first weights kept, since validation says that it lost" if trained.kept_start else "last one kept"
            stage.note = f"{protocol.name}, {counted(protocol.epochs, 'epoch')}, {kept}{taught}"
            if not self.labels:
                context.quality.put_on(stage, trained.model)
        return trained.model

    def _images(self, context: Context) -> DataSet | None:
        """What is learned from; without labels calibration images serve, where there are no others."""
        from reconv.data import as_data_set
        from reconv.quality import held_out

        if self.labels or (context.data is not None and len(context.data.train)):
            return context.data
        if context.data is not None and context.data.calibration is not None:
            return held_out(replace(context.data, train=context.data.calibration), context.seed)
        return held_out(as_data_set(context.calibration.images(), only="train"), context.seed)

    def teacher_for(self, protocol: Protocol) -> str | None:
        """The teacher that is named, or else the network before pruning where the protocol or the images need one."""
        if self.teacher is not None:
            return self.teacher
        return BASE if protocol.base_teaches or not self.labels else None

    def text(self, data_set: str) -> str:
        """The training by the name that its protocol has in the end, with all that is changed in it."""
        from reconv.report.numbers import counted
        from reconv.training import load_protocol

        if self.epochs == 0:
            return "none"
        protocol = load_protocol(self.protocol, data_set, self.overrides)
        parts = [f"protocol {protocol.name}", counted(protocol.epochs, "epoch")]
        parts += [f"batches of {self.batch_size}"] if self.batch_size else []
        parts += [f"{key}={value}" for key, value in self.changes.items()]
        name = self.teacher_for(protocol)
        teacher = "the network before pruning" if name == BASE else name
        parts += [f"taught by {teacher}"] if teacher else []
        return ", ".join([*parts, *([] if self.labels else ["labels unread"])])


@dataclass(frozen=True)
class Finetune(TrainConfig, Step):
    """Train the pruned network.

    Args:
        protocol: how to train; a name of `reconv list protocols`, or the path of a TOML file.
        epochs: passes over the training images; 0: no training; None: the protocol's.
        batch_size: images per step; None: the protocol's.
        changes: other keys of the protocol, such as schedule=cosine.
        teacher: a saved network whose outputs are learned too, or "base" for the network before pruning.
        labels: learn the images' labels; without, a teacher's outputs are all that is learned: those of the network
            before pruning, where no other is named.

    Example:
        >>> import reconv
        >>> reconv.Finetune("short", epochs=2).epochs
        2
    """

    protocol: str = DEFAULT

    @property
    def needs(self) -> frozenset[str]:
        """Labels, or images alone."""
        return frozenset({"labels" if self.labels else "training images"})

    @property
    def is_idle(self) -> bool:
        """Whether no epoch is trained."""
        return self.epochs == 0

    def apply(self, model: nn.Module, plan: Plan, context: Context) -> nn.Module:
        """Train the network, on the data's training images, or on calibration images where there are no others."""
        return self.train(model, context, FINETUNING)

    def describe(self, images: int, source: str, data_set: str) -> tuple[str, str]:
        """Its protocol."""
        return FINETUNING, self.text(data_set)
