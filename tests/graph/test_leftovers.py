"""A trace leaves what a forward stores outside of its module as it was: no tensor without data stays anywhere."""

from __future__ import annotations

from collections import deque
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from reconv.cost import peak_memory, predicted_memory
from reconv.graph import trace

SEEN: list[Tensor] = []
RECENT: deque[Tensor] = deque(maxlen=2)
STAGES: dict[str, Any] = {"early": [], "count": 0}
LAST: Tensor | None = None


class Storing(nn.Module):
    features: ClassVar[dict[str, Tensor]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        global LAST, NEW
        y = self.a(x).relu()
        SEEN.append(y)
        RECENT.append(y)
        STAGES["early"].append(y)
        STAGES["count"] += y.dim()
        self.features["y"] = y
        type(self).latest = y  # type: ignore[attr-defined]
        LAST, NEW = y, (y, 1)  # type: ignore[name-defined]
        return self.b(y)


def test_globals_and_attributes_of_classes_are_left_as_they_were() -> None:
    model, x = Storing(), torch.zeros(1, 3, 4, 4)
    model(x)
    kept = SEEN[0]
    graph = trace(model, x)
    predicted_memory(graph)
    peak_memory(graph)
    assert [id(t) for t in SEEN] == [id(t) for t in RECENT] == [id(kept)]
    assert STAGES["early"][0] is kept
    assert len(STAGES["early"]) == 1
    assert Storing.features["y"] is Storing.latest is LAST is NEW[0] is kept  # type: ignore[attr-defined, name-defined]
    assert not isinstance(LAST, FakeTensor)


def test_what_was_not_there_before_is_gone() -> None:
    del Storing.latest, globals()["NEW"]  # type: ignore[attr-defined]
    trace(Storing(), torch.zeros(1, 3, 4, 4))
    assert not hasattr(Storing, "latest")
    assert "NEW" not in globals()
