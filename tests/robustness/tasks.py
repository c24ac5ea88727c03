"""What is interrupted at random moments: small runs, trainings, studies, saves, exports; and what they result in."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from children import run_forked
from small import IMAGES, network, register_small, saved

from reconv.artifacts import load, save
from reconv.cli.app import main
from reconv.errors import ReconvError
from reconv.files import tensors_fingerprint

STUDY = """
title = "small"
split = "validation"
reference = "l1"
[networks.small]
model = "MODEL"
data_set = "stripes"
[arms.trained]
after = [{ step = "finetune", protocol = "short", epochs = 2, batch_size = 16 }]
[[grids]]
networks = ["small"]
criteria = ["l1", "l2"]
budgets = ["macs=0.6"]
arms = ["pruned only", "trained"]
"""


@dataclass(frozen=True)
class Task:
    """Something that can be interrupted.

    Args:
        name: of it.
        prepare: makes in a folder what it starts from.
        act: does it, in that folder, and gives the exit code; `again` says that an earlier try may have left something.
        result: what it has made, to be compared; None: nothing whole.
    """

    name: str
    prepare: Callable[[Path], object]
    act: Callable[[Path, bool], int]
    result: Callable[[Path], Any]


def _command(*words: str, flag: str = "--resume") -> Callable[[Path, bool], int]:
    def act(folder: Path, again: bool) -> int:
        os.chdir(folder)
        return main([*words, *([flag] if again and flag else [])])

    return act


def _weights(folder: Path) -> str | None:
    return tensors_fingerprint(load(folder).state_dict()) if folder.is_dir() else None


def _run_result(folder: Path) -> Any:
    """Everything that a run keeps, but for times."""
    run = folder / "run"
    if not (run / "metrics.json").is_file():
        return None
    assert (run / "report.html").is_file()
    metrics = json.loads((run / "metrics.json").read_text())
    kept = {key: metrics[key] for key in ("layers",) if key in metrics}
    plan = json.loads((run / "plan.json").read_text())
    rounds = [_weights(each) for each in sorted(run.glob("rounds/*"))]
    return _weights(run / "base"), _weights(run / "model"), rounds, kept, plan, _epochs(run)


def _epochs(run: Path) -> list[Any]:
    files = sorted((run / "training").rglob("metrics.jsonl"))
    timed = ("seconds", "images_per_second")
    return [
        {key: value for key, value in json.loads(line).items() if key not in timed}
        for file in files
        for line in file.read_text().splitlines()
    ]


def _training_result(folder: Path) -> Any:
    run = folder / "run"
    return (_weights(run / "model"), _epochs(run)) if (run / "metrics.json").is_file() else None


def _study_result(folder: Path) -> Any:
    cells = sorted((folder / "study" / "cells").glob("*.json"))
    if not (folder / "study" / "report.html").is_file():
        return None
    records = [json.loads(cell.read_text()) for cell in cells]
    return [(record["key"], record["outcome"]) for record in records]


def _write_study(folder: Path) -> None:
    saved(folder / "start", 1)
    (folder / "study.toml").write_text(STUDY.replace("MODEL", str(folder / "start")))


def _save(folder: Path, again: bool) -> int:
    for seed in range(2, 12):
        try:
            save(network(seed), folder / "model", overwrite=True)
        except ReconvError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    return 0


def _file(folder: Path) -> str | None:
    file = folder / "net.pt"
    return tensors_fingerprint(torch.jit.load(file).state_dict()) if file.is_file() else None


_QUICK = ("--data-set", IMAGES, "--batch-size", "16")
_RUN = (
    "run small:net --budget macs=0.6 -c l1 --base-epochs 2 --epochs 2 --rounds 2 --base-batch-size 16 --save-path run"
)
_EXPORT = "export start --to torchscript --data-set stripes --images 8 --save-path net.pt"


def _start(folder: Path) -> None:
    saved(folder / "start", 1)


TASKS = (
    Task("run", lambda folder: None, _command(*_RUN.split(), *_QUICK), _run_result),
    Task(
        "finetune",
        _start,
        _command("finetune", "start", "--epochs", "4", "--save-path", "run", *_QUICK),
        _training_result,
    ),
    Task("study", _write_study, _command("study", "study.toml", "--save-path", "study", flag=""), _study_result),
    Task("save", lambda folder: saved(folder / "model", 1), _save, lambda folder: _weights(folder / "model")),
    Task("export", _start, _command(*_EXPORT.split(), flag=""), _file),
)


def warm_up(scratch: Path) -> None:
    """Let commands know the small network, and import what they need, which a child that does each once finds out.

    Nothing is computed here: a process that has once computed gradients cannot fork children that do.
    """
    import reconv.results.measure

    register_small()
    reconv.results.measure.LATENCY_SECONDS = 0.01

    def once() -> int:
        for task in TASKS:
            folder = scratch / f"warm-{task.name}"
            folder.mkdir()
            task.prepare(folder)
            task.act(folder, False)
        (scratch / "modules").write_text("\n".join(sys.modules))
        return 0

    run_forked(once, scratch)
    for name in (scratch / "modules").read_text().splitlines():
        with contextlib.suppress(Exception), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(name)
