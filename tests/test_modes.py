"""Evaluation mode for a while: every module gets its own mode back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from reconv import measure_memory
from reconv.cost import measure_latency
from reconv.modes import evaluating


def _partly_frozen() -> nn.Sequential:
    """In training mode, but for its normalization, as one freezes statistics."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout()).train()
    model[1].eval()
    return model


def _modes(model: nn.Module) -> list[bool]:
    return [module.training for module in model.modules()]


def test_all_models_evaluate_and_each_module_gets_its_own_mode_back() -> None:
    models = [_partly_frozen(), nn.Sequential(nn.Dropout()).eval()]
    before = [_modes(model) for model in models]

    def fails_while_evaluating() -> None:
        with evaluating(*models):
            assert not any(mode for model in models for mode in _modes(model))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails_while_evaluating()
    assert [_modes(model) for model in models] == before


@pytest.mark.parametrize(
    "measure",
    [
        lambda model, images: measure_latency([model], images, runs=1, warmup=0),
        measure_memory,
    ],
    ids=["latency", "memory"],
)
def test_what_is_measured_keeps_its_frozen_parts(measure: Callable[[nn.Module, torch.Tensor], object]) -> None:
    model = _partly_frozen()
    before = _modes(model)
    measure(model, torch.zeros(2, 3, 8, 8))
    assert _modes(model) == before
