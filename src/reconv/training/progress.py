"""Progress for people: a bar on a terminal, plain lines elsewhere, and a file of JSON lines always."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reconv.files import write_atomically
from reconv.optional import optional
from reconv.training.records import EpochRecord, Listener, Outline, StepRecord


class Bar(Listener):
    """A bar over all steps, with the epoch, running loss and top-1, images per second, and the time left.

    On a narrow terminal the bar and figures give way; step, epoch and time left stay.
    """

    _MEMORY = 0.95  # of the running means, a step

    def __init__(self, console: Any, title: str) -> None:
        """Draw on `console`, the bar labelled `title`."""
        rich = optional("rich.progress", "a progress bar")
        self._progress = rich.Progress(
            rich.TextColumn("{task.description}"),
            rich.BarColumn(max(4, min(40, console.width // 10))),
            rich.MofNCompleteColumn(),
            rich.TextColumn("{task.fields[epoch]}"),
            rich.TextColumn("{task.fields[figures]}"),
            rich.TimeRemainingColumn(),
            console=console,
        )
        self._task = self._progress.add_task(title, figures="", epoch="")
        self._title, self._width, self._outline = title, console.width, Outline(0, 1, 1, 0)
        self._images = 0
        self._loss = self._top1 = self._weight = 0.0
        self._validation = ""

    def start(self, outline: Outline) -> None:
        self._images = outline.images_per_step
        self._outline = outline
        total = outline.epochs * outline.steps_per_epoch
        self._progress.update(self._task, total=total, completed=outline.first_step)
        self._progress.start()

    def step(self, record: StepRecord) -> None:
        keep = self._MEMORY
        self._loss = keep * self._loss + (1 - keep) * record.loss
        self._top1 = keep * self._top1 + (1 - keep) * record.top1
        self._weight = keep * self._weight + (1 - keep)
        speed = self._progress.tasks[0].speed
        figures = [
            f"loss {self._loss / self._weight:.3f}",
            "" if math.isnan(self._top1) else f"top-1 {self._top1 / self._weight:.1%}",
            self._validation,
            f"{speed * self._images:,.0f} images/s" if speed else "",
        ]
        number = record.step // max(self._outline.steps_per_epoch, 1) + 1
        epoch = f"epoch {number}/{self._outline.epochs}"
        self._progress.update(self._task, advance=1, epoch=epoch, figures=self._fitting(figures, epoch))

    def _fitting(self, figures: Sequence[str], epoch: str) -> str:
        """As many of the figures, the first ones first, as a line has room for."""
        steps = len(str(self._outline.epochs * self._outline.steps_per_epoch))
        bar = max(4, min(40, self._width // 10))
        room = self._width - len(self._title) - bar - (2 * steps + 1) - len(epoch) - len("0:00:00") - 6
        text = ""
        for figure in filter(None, figures):
            longer = f"{text}  {figure}".strip()
            text = longer if len(longer) <= room else text
        return text

    def epoch(self, record: EpochRecord) -> None:
        if record.validation:
            self._validation = f"validation {record.validation.quality_text}"

    def note(self, text: str) -> None:
        self._progress.console.print(text, highlight=False, markup=False)

    def stop(self) -> None:
        self._progress.stop()


class Lines(Listener):
    """A line per epoch, for logs."""

    def __init__(self, console: Any, title: str) -> None:
        """Print on `console`, each line beginning with `title`."""
        self._console, self._title, self._epochs = console, title, 0

    def start(self, outline: Outline) -> None:
        self._epochs = outline.epochs

    def epoch(self, record: EpochRecord) -> None:
        validation = f", validation {record.validation.quality_text}" if record.validation else ""
        top1 = "" if math.isnan(record.top1) else f", top-1 {record.top1:.2%}"
        self.note(
            f"{self._title} epoch {record.epoch}/{self._epochs}: loss {record.loss:.4f}{top1}"
            f"{validation}, {record.images_per_second:,.0f} images/s"
        )

    def note(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


class JsonLines(Listener):
    """`metrics.jsonl`: one JSON object per epoch. A resumed training's file holds each epoch once."""

    def __init__(self, path: Path, history: Sequence[EpochRecord]) -> None:
        """Begin the file with the epochs done before."""
        self._path = path
        self._lines = [_line(record) for record in history]
        write_atomically(path, "".join(self._lines))

    def epoch(self, record: EpochRecord) -> None:
        self._lines.append(_line(record))
        write_atomically(self._path, "".join(self._lines))


def _line(record: EpochRecord) -> str:
    return json.dumps(record.to_json(), allow_nan=False) + "\n"


def for_people(title: str) -> Listener:
    """A bar if standard error is a terminal, lines if not."""
    console = optional("rich.console", "progress (Session(progress=False) shows none)").Console(stderr=True)
    return Bar(console, title) if console.is_terminal else Lines(console, title)
