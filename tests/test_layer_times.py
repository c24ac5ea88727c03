"""Layer by layer: what a module took in a pass, however often it was called in it."""

from __future__ import annotations

from itertools import count

import pytest
import torch
from torch import Tensor, nn

from reconv.cost.layer_times import layer_latencies
from reconv.cost.timing import per_pass


class _Twice(nn.Module):
    """One layer that every pass calls twice, and one that it calls once."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.last = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.last(self.shared(self.shared(images)))
        return out


def test_all_calls_of_a_pass_count_together(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = count()
    monkeypatch.setattr("reconv.cost.timing.now", lambda *_: float(next(ticks)))  # every call takes a second
    names = ("shared", "last", "not there")
    for times in layer_latencies((_Twice(), _Twice()), names, torch.zeros(16, 1, 8, 8), runs=5):
        assert {name: (time.median, time.runs, time.batch) for name, time in times.items()} == {
            "shared": (2.0, 5, 16),
            "last": (1.0, 5, 16),
        }


@pytest.mark.parametrize("calls", [1, 3])
def test_passes_keep_every_second(calls: int) -> None:
    seconds = [float(i) for i in range(4 * calls)]
    found = per_pass(seconds, 4)
    assert len(found) == 4
    assert sum(found) == sum(seconds)
    assert found == sorted(found)
