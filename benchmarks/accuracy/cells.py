"""What the measurements of repairs share: results that are kept as they come, seconds, and where weights lie."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from reconv.files import write_json
from reconv.machine import processor

Cell = dict[str, Any]


class Cells:
    """Results by name in a JSON file, each written as soon as it is there.

    Args:
        file: may hold results of earlier commands with the same settings.
        about: the command and where it runs. settings: what all results of the file have in common.
    """

    def __init__(self, file: Path, about: Cell, settings: Cell):
        found = json.loads(file.read_text()) if file.is_file() else {"about": {**about, **settings}, "cells": {}}
        for name, value in settings.items():
            before = found["about"].get(name)
            if before != value:
                raise SystemExit(f"{file}: its results are for {name} = {before!r}, not {value!r}; give another --out")
        self.file = file
        self.about: Cell = found["about"]  # of the command that began the file
        self.cells: dict[str, Cell] = found["cells"]
        self.own = {} if about["command"] == self.about["command"] else {"about": about}

    def get(self, name: str, measure: Callable[[], Cell]) -> Cell:
        """The cell of this name, measured now where it is not there."""
        if name not in self.cells:
            self.cells[name] = {**measure(), **self.own}
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_json(self.file, {"about": self.about, "cells": self.cells})
            print(f"  {name}: {self.cells[name]}", flush=True)
        return self.cells[name]


class Clock:
    """Seconds of the processor and by the clock since it was made."""

    def __init__(self) -> None:
        self.start = time.process_time(), time.perf_counter()

    def read(self) -> tuple[float, float]:
        return time.process_time() - self.start[0], time.perf_counter() - self.start[1]


def weights_of(model: str, folder: Path) -> Path:
    places = [folder / f"{prefix}{model}.safetensors" for prefix in ("cifar10-", "")]
    return next((place for place in places if place.is_file()), places[0])


def about_this_run(threads: int) -> Cell:
    """What was called, where, and on what."""
    command = shlex.join(["python", f"benchmarks/accuracy/{Path(sys.argv[0]).name}", *without_places(sys.argv[1:])])
    return {
        "command": command,
        "processor": f"{processor()}, {os.cpu_count()} cores, {threads} threads",
        "versions": f"Python {platform.python_version()}, PyTorch {torch.__version__}",
    }


def without_places(words: list[str]) -> list[str]:
    """A command line with DIR for every folder."""
    places = ("--weights", "--data-root", "--out", "--fashion", "--photographs")
    return ["DIR" if i and words[i - 1] in places else word for i, word in enumerate(words)]
