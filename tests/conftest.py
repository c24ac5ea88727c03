"""Fixtures that all tests share: where real data is, and a fixed seed for every test."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

# Tests run in as many processes as there are cores; threads on top of that only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that ask for an optional package run again where all of them are installed."""
    for item in items:
        if isinstance(item, pytest.Function) and _asks_for_packages(item):
            item.add_marker(pytest.mark.extras)


def _asks_for_packages(item: pytest.Function) -> bool:
    """Whether a test, a fixture of its, or its whole file is skipped without a package."""
    fixtures = (definition.func for found in item._fixtureinfo.name2fixturedefs.values() for definition in found)
    return _whole_file_asks(item.path) or any(_asks(function) for function in (item.function, *fixtures))


@cache
def _asks(function: Callable[..., object]) -> bool:
    try:
        return "importorskip" in inspect.getsource(function)
    except (OSError, TypeError):  # of compiled code
        return False


@cache
def _whole_file_asks(file: Path) -> bool:
    text = file.read_text(encoding="utf-8")
    outside = any("importorskip" in line and not line.startswith(" ") for line in text.splitlines())
    return outside or file.parent.name == "deploy_onnx"


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
