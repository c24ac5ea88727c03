"""Training: one readable loop on Accelerate, its protocols, evaluation, BatchNorm recalibration."""

from reconv.training.device import device_named
from reconv.training.evaluate import Evaluation, evaluate
from reconv.training.interrupt import Interrupted
from reconv.training.loop import Session, Trained, finetune, train
from reconv.training.protocol import Protocol, load_protocol, protocol_names
from reconv.training.recalibrate import recalibrate
from reconv.training.records import EpochRecord, Listener, Outline, StepRecord

__all__ = [
    "EpochRecord",
    "Evaluation",
    "Interrupted",
    "Listener",
    "Outline",
    "Protocol",
    "Session",
    "StepRecord",
    "Trained",
    "device_named",
    "evaluate",
    "finetune",
    "load_protocol",
    "protocol_names",
    "recalibrate",
    "train",
]
