"""The examples in the documentation of data, models and training run as they stand."""

from __future__ import annotations

import doctest
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import reconv

DOCS = Path(__file__).parents[2] / "docs"


pytestmark = pytest.mark.usefixtures("own_registries")


@pytest.mark.parametrize(
    "module",
    ["data.own", "data.sources", "zoo.sources", "zoo.load", "training.evaluation", "training.batch_norm"],
)
def test_examples_in_docstrings(module: str) -> None:
    names = {"torch": torch, "nn": nn, "reconv": reconv}
    result = doctest.testmod(import_module(f"reconv.{module}"), extraglobs=names)
    assert result.attempted > 0
    assert result.failed == 0


def test_training_on_data_of_ones_own() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (DOCS / "training.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {"torch": torch, "nn": nn}
    exec(block, names)
    assert names["trained"].history[-1].validation.metric_name == "mean error"
