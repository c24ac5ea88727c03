"""Accelerate, set up for one training."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from reconv.errors import ConfigError, unknown_name
from reconv.optional import optional
from reconv.training.device import device_named
from reconv.training.protocol import Protocol
from reconv.training.records import EpochRecord, Listener, Outline

_PRECISION = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


@dataclass(frozen=True)
class Machine:
    """An Accelerator, and the device to train on."""

    accelerator: Any
    device: torch.device


def set_up(precision: str, device: str, trackers: Sequence[str] = (), folder: Path | None = None) -> Machine:
    """An Accelerator for one training.

    Accelerate keeps one state per process and refuses a second one with other settings; trainings one after the
    other may differ, so its state is cleared first. Processes that are connected stay so.

    Args:
        precision: "fp32", "bf16" or "fp16".
        device: as `device_named` takes it.
        trackers: Accelerate's, by name, such as "tensorboard".
        folder: where trackers that write files do.

    Raises:
        ConfigError: no such device, a precision it does not compute in, a tracker that is not installed.
        UnknownNameError: a tracker that Accelerate does not know.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="IProgress not found")  # of a bar of Accelerate's that is not shown
        accelerate = optional("accelerate", "training")
    wanted = None if device == "auto" else device_named(device)
    check_trackers(trackers, folder)
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerate.state.GradientState._reset_state()
    try:
        accelerator = accelerate.Accelerator(
            mixed_precision=_PRECISION[precision],
            cpu=wanted is not None and wanted.type == "cpu",
            device_placement=False,
            log_with=list(trackers) or None,
            project_dir=folder,
        )
    except ValueError as error:
        raise ConfigError(f"precision {precision}: {error}; use fp32.") from None
    chosen = wanted or accelerator.device
    if precision == "fp16" and chosen.type == "cpu":  # Accelerate would leave it out without a word
        raise ConfigError("precision fp16: a CPU does not compute in it; use bf16 or fp32.")
    return Machine(accelerator, chosen)


def check_trackers(trackers: Sequence[str], folder: Path | None) -> None:
    """Refuse trackers that cannot be used here.

    Raises:
        UnknownNameError: one that Accelerate does not know.
        ConfigError: one that is not installed, or that writes files where there is no folder.
    """
    if not trackers:
        return
    tracking = optional("accelerate.tracking", "training")
    installed = [str(getattr(name, "value", name)) for name in tracking.get_available_trackers()]
    for name in trackers:
        if name not in tracking.LOGGER_TYPE_TO_CLASS:
            raise unknown_name("tracker", name, tracking.LOGGER_TYPE_TO_CLASS)
        if name not in installed:
            raise ConfigError(f"tracker {name}: it is not installed; pip install {name}.")
        if tracking.LOGGER_TYPE_TO_CLASS[name].requires_logging_directory and folder is None:
            raise ConfigError(f"tracker {name}: it writes files; give a folder to train in.")


class Trackers(Listener):
    """Logs each epoch's figures to Accelerate's trackers."""

    def __init__(self, accelerator: Any, title: str, protocol: Protocol) -> None:
        """The accelerator was set up with the trackers' names."""
        self._accelerator, self._title, self._protocol = accelerator, title, protocol

    def start(self, outline: Outline) -> None:
        settings = {key: value for key, value in self._protocol.to_json().items() if not isinstance(value, list)}
        self._accelerator.init_trackers(self._title.replace(" ", "-"), config=settings)

    def epoch(self, record: EpochRecord) -> None:
        figures = {"loss": record.loss, "top1": record.top1, "learning_rate": record.learning_rate}
        figures["images_per_second"] = record.images_per_second
        if record.validation:
            figures |= {"validation/top1": record.validation.top1, "validation/loss": record.validation.loss}
        self._accelerator.log(figures, step=record.step)

    def stop(self) -> None:
        for tracker in self._accelerator.trackers:
            tracker.finish()
