"""An example input by a text: a shape, a file of tensors, or a function in a file of the user's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reconv.errors import ArtifactError, ConfigError, first_line
from reconv.zoo.code import attribute, in_file

_SHAPE = re.compile(r"\d+(x\d+)*")
_SUFFIXES = (".pt", ".pth", ".npz")


def read_example(text: str) -> Any:
    """An input of a network, as `trace` takes it.

    Args:
        text: a shape such as `1x3x224x224`, or several, `1x3x64x64,1x10`, for a network of several inputs; a `.pt` file
            of tensors (read with weights_only) or an `.npz` file of arrays (never unpickled), whose names are the
            keyword arguments; or `my_net.py:function`, which gives one.

    Raises:
        ConfigError: none of these. ArtifactError: a file that cannot be read.
    """
    if all(_SHAPE.fullmatch(part) for part in text.split(",")):
        tensors = tuple(torch.zeros([int(side) for side in part.split("x")]) for part in text.split(","))
        return tensors[0] if len(tensors) == 1 else tensors
    if in_file(text):
        found = attribute(*text.rsplit(":", 1))
        return found() if callable(found) else found
    file = Path(text)
    if file.suffix not in _SUFFIXES:
        raise ConfigError(
            f"--example {text}: give a shape such as 1x3x224x224, a {' or '.join(_SUFFIXES)} file, or "
            "my_net.py:function"
        )
    try:
        if file.suffix == ".npz":
            return _from_arrays(file)
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ArtifactError(
            f"{file}: cannot be read as tensors alone ({first_line(error)[:150]}); save tensors in it, in a tuple of "
            "positional or a dict of keyword arguments where there are several"
        ) from error


def _from_arrays(file: Path) -> Any:
    """Arrays that numpy named itself, `arr_0` and so on, are positional arguments; others are keywords."""
    with np.load(file, allow_pickle=False) as arrays:
        values: dict[str, Tensor] = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    if all(re.fullmatch(r"arr_\d+", name) for name in values):
        positional = tuple(values.values())
        return positional[0] if len(positional) == 1 else positional
    return values
