"""Fixtures that all tests share: where real data is, and a fixed seed for every test."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

# Tests run in as many processes as there are cores; threads on top of that only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of files that ask for an optional package run again where all of them are installed."""
    for item in items:
        if _asks_for_packages(item.path):
            item.add_marker(pytest.mark.extras)


@cache
def _asks_for_packages(file: Path) -> bool:
    return "importorskip" in file.read_text(encoding="utf-8") or file.parent.name == "deploy_onnx"


def pytest_collectstart() -> None:
    """What a module draws when it is imported does not depend on which ones were imported before."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def own_registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it."""
    from reconv.registry import registries

    for registry in registries().values():
        monkeypatch.setattr(registry, "_items", {item.name: item for item in registry})


def _folder(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} is not set")
    return Path(value)


@pytest.fixture
def data_root() -> Path:
    """A folder that holds `cifar-10-batches-bin`."""
    return _folder("RECONV_DATA")


@pytest.fixture
def weights_root() -> Path:
    """A folder that holds `cifar10-resnet20.safetensors` and `cifar10-resnet56.safetensors`."""
    return _folder("RECONV_WEIGHTS")
