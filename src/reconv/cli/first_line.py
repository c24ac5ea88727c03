"""What a command says before it loads PyTorch, which takes seconds: what will be done, and where it goes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from reconv.cli.fields import Given
from reconv.cli.options import Data, Output
from reconv.compression import Compression


def say_what_comes(model: str, data: Data, compression: Given[Compression], output: Output, steps: str) -> None:
    """One line on a terminal, where somebody waits.

    Args:
        steps: what is done, in words.
    """
    if not sys.stderr.isatty():
        return
    asked: Mapping[str, Any] = {option.flag: value for option, value in compression.values.items()}
    amount = f"recipe {asked['--recipe']}" if "--recipe" in asked else " ".join(asked.get("--budget", ("macs=50%",)))
    criterion = asked.get("--criterion", compression.default.criterion)
    images = data.task or data.data_set.removeprefix("images:")
    where = output.save_path or "a new folder in runs/"
    print(f"{model} on {images}: {steps} to {amount} by {criterion} -> {where}", file=sys.stderr, flush=True)
