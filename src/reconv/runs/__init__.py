"""Runs: a folder on disk around `compress`, where each result is kept as it appears."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconv.lazy import lazy_names

if TYPE_CHECKING:
    from reconv.runs.config import RunConfig as RunConfig
    from reconv.runs.explore import explore_into as explore_into
    from reconv.runs.facts import is_run as is_run
    from reconv.runs.facts import load_facts as load_facts
    from reconv.runs.inputs import Inputs as Inputs
    from reconv.runs.inputs import is_trained as is_trained
    from reconv.runs.inputs import load_images as load_images
    from reconv.runs.inputs import load_inputs as load_inputs
    from reconv.runs.runner import RunOptions as RunOptions
    from reconv.runs.runner import RunResult as RunResult
    from reconv.runs.runner import run as run
    from reconv.runs.train import train_only as train_only

_HOME = {
    "config": ("RunConfig",),
    "explore": ("explore_into",),
    "facts": ("is_run", "load_facts"),
    "inputs": ("Inputs", "is_trained", "load_images", "load_inputs"),
    "runner": ("RunOptions", "RunResult", "run"),
    "train": ("train_only",),
}
__getattr__, _names = lazy_names(__name__, _HOME)
__all__ = list(_names)  # pyright: ignore[reportUnsupportedDunderAll]
