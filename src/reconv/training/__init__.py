"""Training: one readable loop on Accelerate, its protocols, evaluation, BatchNorm recalibration."""

from reconv.training.accelerator import check_trackers
from reconv.training.batch_norm import recalibrate
from reconv.training.device import device_named
from reconv.training.evaluation import Evaluation, Metric, evaluate
from reconv.training.interrupt import Interrupted
from reconv.training.loop import Session, Trained, finetune, train
from reconv.training.processes import connected, first_process_first, is_first_process, process_count, wait_for_all
from reconv.training.protocol import Protocol, load_protocol, parse_overrides, protocol_names, protocol_text
from reconv.training.records import EpochRecord, Listener, Outline, StepRecord

__all__ = [
    "EpochRecord",
    "Evaluation",
    "Interrupted",
    "Listener",
    "Metric",
    "Outline",
    "Protocol",
    "Session",
    "StepRecord",
    "Trained",
    "check_trackers",
    "connected",
    "device_named",
    "evaluate",
    "finetune",
    "first_process_first",
    "is_first_process",
    "load_protocol",
    "parse_overrides",
    "process_count",
    "protocol_names",
    "protocol_text",
    "recalibrate",
    "train",
    "wait_for_all",
]
