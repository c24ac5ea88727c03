"""The training loop: epochs of steps, validation and a checkpoint after each, and an orderly end whatever
happens."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any

import torch
from torch import Tensor, nn

from reconv.data import DataSet, as_data_set
from reconv.errors import ArtifactError, ConfigError, DataError, TrainingError, check_kind
from reconv.files import tensors_fingerprint
from reconv.html_table import html_table
from reconv.threads import few_threads
from reconv.training.accelerator import Trackers, set_up
from reconv.training.checkpoint import (
    Checkpoint,
    checkpoint_path,
    checkpoints_in,
    identity_of,
    latest_checkpoint,
    save_checkpoint,
)
from reconv.training.divergence import measure_divergence
from reconv.training.engine import Engine
from reconv.training.evaluation import (
    Evaluation,
    LossFunction,
    Metric,
    as_metric,
    check_fits,
    evaluate,
    normalization_for,
    placed,
)
from reconv.training.interrupt import Interrupted, StopRequest, stop_request
from reconv.training.progress import JsonLines, for_people
from reconv.training.protocol import Protocol, load_protocol
from reconv.training.records import EpochRecord, Listener, Outline, StepRecord

_REPORT_EVERY = {"cpu": 1}  # steps between two reads of the losses; reading makes an accelerator wait
_REPORT_EVERY_ELSEWHERE = 25


@dataclass(frozen=True)
class Session:
    """What surrounds a training and does not decide its result.

    Attributes:
        folder: for checkpoints and `metrics.jsonl`; None: nothing is written.
        resume: go on from the newest checkpoint in it, or begin if there is none.
        keep: how many checkpoints are kept.
        device: "cpu", "cuda", "cuda:1", "mps", or "auto", the fastest there is.
        progress: show a bar on a terminal, or lines elsewhere, on standard error.
        title: what they are called.
        listeners: receive every step and epoch.
        trackers: Accelerate's trackers, by name: "tensorboard", "wandb", "mlflow" and others, if installed.
        starts_from: fingerprint of the weights that a resumed training has to have begun with; None: those of the
            model that is trained. For one that was computed from saved weights and may differ in its last bits.
    """

    folder: Path | None = None
    resume: bool = False
    keep: int = 2
    device: str = "auto"
    progress: bool = True
    title: str = "training"
    listeners: tuple[Listener, ...] = ()
    trackers: tuple[str, ...] = ()
    starts_from: str | None = None


@dataclass(frozen=True, eq=False)
class Trained:
    """What a training gives.

    Attributes:
        model: of the last step; the moving average, where the protocol has one.
        history: one record per epoch.
        kept_start: the weights are those that the training began with, since validation says that it lost.
    """

    model: nn.Module
    history: tuple[EpochRecord, ...]
    kept_start: bool = False

    def _repr_html_(self) -> str:
        rows = [
            (row.epoch, row.loss, f"{row.top1:.2%}", _validation_text(row), row.learning_rate, row.seconds)
            for row in self.history
        ]
        header = ("epoch", "loss", "training top-1", "validation", "learning rate", "seconds")
        return html_table(f"{len(rows)} epochs", header, rows)


def _validation_text(record: EpochRecord) -> str:
    return "" if record.validation is None else f"{record.validation.top1:.2%}"


def train(
    model: nn.Module,
    data: Any,
    protocol: Protocol | str,
    *,
    loss: LossFunction | None = None,
    metric: Metric | Callable[[Any, Any], float | Tensor] | None = None,
    seed: int = 0,
    teacher: nn.Module | None = None,
    labels: bool = True,
    session: Session = Session(),
) -> Trained:
    """Train, or fine-tune, a copy of a model.

    Each epoch ends with figures on the validation split and a checkpoint; what is returned is the last
    epoch's model, never the best one's. The test split is not looked at. Model, data, protocol and seed
    decide the result: on a CPU to the bit, interrupted and resumed or not. Under `torchrun` or `accelerate
    launch` every process calls this alike; a batch is shared among them, BatchNorm counts over all of it.

    Args:
        model: any module that gives scores `[n, classes]`, or what the loss takes; stays as it is.
        data: learned from; normalized as the model's provenance says, or as the data set does. Or a DataLoader, a
            Dataset or a pair of tensors, all of which is learned from; or a mapping of such to "train" and
            "validation" (see `data.as_data_set`). Batch size and order are the protocol's.
        protocol: how; or its name, see `load_protocol`.
        loss: of outputs and targets, the mean over a batch; in place of cross-entropy.
        metric: of outputs and targets, measured on the validation split; see `evaluate`.
        seed: of order, augmentation and dropout.
        teacher: a model whose outputs are learned too, by the protocol's `distillation`, `temperature` and
            `feature_distillation`.
        labels: False: the teacher alone is learned, each output tensor of its, whatever the task; labels are not
            read, and the validation figures are the share of identical predictions and the outputs' divergence.
        session: device, checkpoints, progress.

    Returns:
        The trained copy, on the original's device, and the history.

    Raises:
        ConfigError: model, data, teacher or device do not fit together.
        TrainingError: a loss that is not finite, a checkpoint of another training.
        Interrupted: Ctrl-C or SIGTERM; the message says how to go on.
    """
    check_kind("train: model", model, nn.Module)
    check_kind("train: protocol", protocol, (Protocol, str), 'a name such as "short", or what load_protocol returns')
    check_kind("train: teacher", teacher, (nn.Module, NoneType), "the network that the model was pruned from")
    data = as_data_set(data, only="train", seed=seed)
    if isinstance(protocol, str):
        protocol = load_protocol(protocol, data)
    if labels and not data.labelled:
        raise DataError(
            f"{data.name}: images without labels; give a DataLoader or Dataset of (input, target), or a teacher and "
            "labels=False."
        )
    if not labels and (teacher is None or loss is not None):
        lacking = "there is no teacher" if teacher is None else "a loss compares outputs with targets"
        raise ConfigError(f"train: labels=False, but {lacking}; give teacher=, the network before pruning, alone.")
    classified = labels and loss is None
    outputs = check_fits(model, data, labels=classified)
    if teacher is not None:
        check_fits(teacher, data, labels=classified)
        if normalization_for(teacher, data) != normalization_for(model, data):
            raise ConfigError(
                "teacher: its input is normalized otherwise than the model's; take the network that the "
                "model was pruned from."
            )
    folder = None if session.folder is None else Path(session.folder)
    if folder is not None and not session.resume and checkpoints_in(folder):
        raise ArtifactError(f"{folder}: holds checkpoints of a training; resume it, or give another folder.")
    machine = set_up(protocol.precision, session.device, session.trackers, folder)
    classes = outputs.shape[1] if isinstance(outputs, Tensor) and outputs.ndim == 2 else 0
    engine = Engine(
        model, data, protocol, seed=seed, teacher=teacher, machine=machine, loss=loss, classes=classes, labels=labels
    )
    identity = identity_of(model, data, protocol, seed=seed, teacher=teacher, loss=loss, labels=labels)
    if folder is not None:
        identity["weights"] = session.starts_from or tensors_fingerprint(model.state_dict())
        identity["teacher weights"] = teacher and tensors_fingerprint(teacher.state_dict())
    judge = None if teacher is None or labels else placed(teacher, engine.device)
    run = _Run(engine, data, session, folder, identity, as_metric(metric), loss, judge)
    pixels = engine.batches.images_per_step * math.prod(data.input_size[1:])
    with (
        few_threads(pixels, engine.device),
        _randomness_kept(engine.device),
        stop_request() as stop,
        run.listened_to(),
    ):
        run.begin()
        while run.epoch < protocol.epochs:
            run.train_epoch(stop)
            run.end_epoch()
            run.stop_if_requested(stop)
    lost = protocol.keep_start and run.has_lost()
    return Trained(engine.start() if lost else engine.result(), tuple(run.history), kept_start=lost)


finetune = train


@dataclass
class _Run:
    """Where a training is, and what is done at each point of it."""

    engine: Engine
    data: DataSet
    session: Session
    folder: Path | None
    identity: dict[str, Any]
    metric: Metric | None = None
    loss: LossFunction | None = None
    judge: nn.Module | None = None  # what outputs are compared with, where labels are not read
    listeners: list[Listener] = field(default_factory=list)
    history: list[EpochRecord] = field(default_factory=list)
    step: int = 0
    saved: Path | None = None
    sums: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("loss", "top1", "seconds"), 0.0))
    _unreported: list[tuple[Tensor, Tensor, float]] = field(default_factory=list)
    _since: float = 0.0

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return len(self.history)

    @property
    def is_first(self) -> bool:
        return bool(self.engine.accelerator.is_main_process)

    def begin(self) -> None:
        """Go on from a checkpoint, if that is wanted and there is one; start the listeners."""
        people = [for_people(self.session.title)] if self.session.progress and self.is_first else []
        self.listeners += [*(self.session.listeners if self.is_first else ()), *people]
        if self.folder is not None and self.session.resume:
            checkpoint = latest_checkpoint(self.folder, self.identity, self.note)
            if checkpoint is not None:
                self._resume(checkpoint, self.folder)
        if self.folder is not None and self.is_first:
            self.listeners.append(JsonLines(self.folder / "metrics.jsonl", self.history))
        if self.session.trackers and self.is_first:
            accelerator = self.engine.accelerator
            self.listeners.append(Trackers(accelerator, self.session.title, self.engine.protocol))
        batches = self.engine.batches
        outline = Outline(self.engine.protocol.epochs, batches.steps, batches.images_per_step, self.step)
        for listener in self.listeners:
            listener.start(outline)

    def _resume(self, checkpoint: Checkpoint, folder: Path) -> None:
        self.engine.restore(checkpoint)
        self.step = checkpoint.step
        self.saved = checkpoint_path(folder, checkpoint.step)
        self.history = [EpochRecord.from_json(values) for values in checkpoint.progress["history"]]
        self.sums = dict(checkpoint.progress["sums"])
        self.note(f"going on after step {self.step}, epoch {self.epoch} of {self.engine.protocol.epochs}")

    def train_epoch(self, stop: StopRequest) -> None:
        """All steps of the running epoch that are not done yet."""
        steps = self.engine.batches.steps
        self._since = time.perf_counter()
        for images, labels in self.engine.batches.epoch(self.epoch, start=self.step - self.epoch * steps):
            self._unreported.append(self.engine.step(self.step, images, labels))
            self.step += 1
            if len(self._unreported) >= _REPORT_EVERY.get(self.engine.device.type, _REPORT_EVERY_ELSEWHERE):
                self._report()
            if self.step % steps:  # the epoch's last step is followed by its validation
                self.stop_if_requested(stop)
        self._report()

    def stop_if_requested(self, stop: StopRequest) -> None:
        """Save and end, if any process received a signal."""
        if self._is_stop_requested(stop):
            self._report()
            self._checkpoint()
            raise Interrupted(self._how_to_resume(stop.received))

    def _report(self) -> None:
        """Give the losses since the last report to the listeners; the first that is not finite ends the training."""
        if not self._unreported:
            return
        figures = self.engine.mean(torch.stack([torch.stack(entry[:2]) for entry in self._unreported])).tolist()
        first = self.step - len(figures)
        rates = [entry[2] for entry in self._unreported]
        self._unreported.clear()
        now = time.perf_counter()
        self.sums["seconds"] += now - self._since
        self._since = now
        for step, ((loss, top1), rate) in enumerate(zip(figures, rates), first):
            if not math.isfinite(loss):
                raise TrainingError(self._diverged(f"the loss of step {step + 1} is {loss}", rate))
            self.sums["loss"] += loss
            self.sums["top1"] += top1
            for listener in self.listeners:
                listener.step(StepRecord(step, loss, top1, rate))

    def end_epoch(self) -> None:
        """Validate, record, save."""
        engine, steps = self.engine, self.engine.batches.steps
        rate = engine.rate(self.step - 1)
        validation = None
        if len(self.data.validation):
            validation = self._validated(engine.tested())
            if not math.isfinite(validation.loss) and not (self.loss is None and math.isnan(validation.top1)):
                raise TrainingError(self._diverged(f"the validation loss after step {self.step} is not finite", rate))
        seconds = self.sums["seconds"]
        record = EpochRecord(
            epoch=self.epoch + 1,
            step=self.step,
            loss=self.sums["loss"] / steps,
            top1=self.sums["top1"] / steps,
            learning_rate=rate,
            seconds=seconds,
            images_per_second=steps * engine.batches.images_per_step / max(seconds, 1e-9),
            validation=validation,
        )
        self.history.append(record)
        self.sums = dict.fromkeys(self.sums, 0.0)
        self._checkpoint()
        for listener in self.listeners:
            listener.epoch(record)

    def has_lost(self) -> bool:
        """Whether the network was better at the start, on the validation split: by the metric, by top-1, or by loss."""
        last = self.history[-1].validation if self.history else None
        if last is None:
            return False
        first = self._validated(self.engine.start().to(self.engine.device))
        return first.is_better_than(last, higher=self.metric is None or self.metric.higher_is_better)

    def _validated(self, model: nn.Module) -> Evaluation:
        """A model's figures on the validation split: by labels, or beside the teacher."""
        if self.judge is None:
            return evaluate(model, self.data, "validation", metric=self.metric, loss=self.loss)
        found = measure_divergence(self.judge, model, self.data, "validation")
        images = len(self.data.validation)
        return Evaluation(math.nan, math.nan, found.mean, images, found.identical, "agreement")

    def _checkpoint(self) -> None:
        """Save; without the space for it training goes on, and the checkpoint before stays the last good one."""
        if self.folder is None or not self.is_first:
            return
        progress = {
            "history": [record.to_json() for record in self.history],
            "sums": self.sums,
            "scaler": self.engine.scaler_state(),
        }
        checkpoint = Checkpoint(self.step, self.identity, progress, self.engine.tensors())
        try:
            self.saved = save_checkpoint(self.folder, checkpoint, self.session.keep)
        except ArtifactError as error:
            self.note(f"{error} Training goes on; the last good checkpoint is {self.saved or 'none'}.")

    def _is_stop_requested(self, stop: StopRequest) -> bool:
        """Whether any process received a signal; all must know it after the same step."""
        if self.engine.accelerator.num_processes == 1:
            return bool(stop.received)
        requested = torch.tensor(float(bool(stop.received)), device=self.engine.device)
        return bool(self.engine.accelerator.reduce(requested, "sum") > 0)

    def _how_to_resume(self, signal: str) -> str:
        steps = self.engine.protocol.epochs * self.engine.batches.steps
        where = f"{signal or 'another process'}: stopped after step {self.step} of {steps}"
        if self.folder is None:
            return f"{where}; nothing was saved, since no folder was given."
        return f"{where}; the last checkpoint is {self.saved or 'missing'}; go on with --resume (resume=True)."

    def _diverged(self, what: str, rate: float) -> str:
        return (
            f"{self.session.title}: {what}, at learning rate {rate:g}; the last good checkpoint is "
            f"{self.saved or 'none'}. Lower learning_rate, lengthen warmup_epochs or set clip_norm."
        )

    def note(self, text: str) -> None:
        """Give the listeners something for the user to read."""
        for listener in self.listeners:
            listener.note(text)

    @contextmanager
    def listened_to(self) -> Iterator[None]:
        """Listeners learn of the end, however it comes."""
        try:
            yield
        finally:
            for listener in self.listeners:
                listener.stop()


@contextmanager
def _randomness_kept(device: torch.device) -> Iterator[None]:
    """The global generators are seeded for each step; afterwards they are as they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
