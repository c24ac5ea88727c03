"""What a command says before it loads PyTorch, which takes seconds: what will be done, where to, about how long."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reconv.cli.fields import Given
from reconv.cli.options import Data, Output
from reconv.compression import Compression


def say_what_comes(model: str, data: Data, compression: Given[Compression], output: Output, steps: str) -> None:
    """A line on a terminal, where somebody waits.

    Args:
        steps: what is done, in words.
    """
    if not sys.stderr.isatty():
        return
    asked: Mapping[str, Any] = {option.flag: value for option, value in compression.values.items()}
    amount = f"recipe {asked['--recipe']}" if "--recipe" in asked else " ".join(asked.get("--budget", ("macs=50%",)))
    amount = f"a loss of {asked['--max-drop']:g} points at most" if "--max-drop" in asked else amount
    criterion = asked.get("--criterion", compression.default.criterion)
    images = data.task or data.data_set.removeprefix("images:")
    where = output.save_path or "a new folder in runs/"
    trains = asked.get("--epochs") != 0 and asked.get("--finetune") is not False
    line = (
        f"{model} on {images}: {steps} to {amount} by {criterion} -> {where}; {about_how_long(model, images, trains)}"
    )
    width = shutil.get_terminal_size().columns
    print(textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False), file=sys.stderr, flush=True)


def about_how_long(model: str, images: str, trains: bool, runs: Path = Path("runs")) -> str:
    """As long as the last run of the same network and images took; where there is none, the order of magnitude."""
    finished = sorted(runs.glob("*/metrics.json"), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in finished[:20]:
        try:
            facts = json.loads(file.read_text(encoding="utf-8"))
            if facts["title"] == f"{model} on {images}":
                minutes = sum(stage["seconds"] for stage in facts["stages"]) / 60
                return (
                    f"the last such run took {minutes:.0f} min"
                    if minutes >= 1
                    else "the last such run took under 1 min"
                )
        except (OSError, ValueError, KeyError, TypeError):  # not what a run of this version writes
            continue
    if images == "digits":
        return "about a minute"
    return "minutes, and longer by each epoch: the bar says how long" if trains else "some minutes"
