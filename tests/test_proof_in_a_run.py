"""A run proves on calibration images what random input does not decide, and says what it could not prove."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from reconv.errors import ConfigError, GraphError
from reconv.graph import trace
from reconv.plan import Budget, choose
from reconv.runlog import RunLog
from reconv.saliency import score
from reconv.select import prove
from reconv.surgery import prune


class Detector(nn.Module):
    """Says how it looks where the image is bright; noise is nowhere bright."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        bright = (x.mean(1) > 5).nonzero()
        return self.b(self.a(x).relu())[bright[:, 0], :, bright[:, 1], bright[:, 2]]


class Log(RunLog):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def images() -> Tensor:
    found = torch.rand(4, 3, 8, 8)
    found[:, :, 2:5, 3:6] += 10
    return found


def refuse() -> Tensor:
    raise ConfigError("there are none")


def proved(read: Any, wrong: bool = False) -> tuple[float | None, list[str]]:
    model = Detector().eval()
    graph = trace(model, torch.zeros(1, 3, 8, 8), freeze=["b"])
    plan = choose(graph, score(graph, "l2"), Budget(channels=0.6))
    small = prune(model, plan)
    if wrong:
        with torch.no_grad():
            small.get_parameter("a.weight").mul_(1.1)
    log = Log()
    return prove(graph, small, plan, None, cast(Any, SimpleNamespace(images=read)), log), log.said


def test_what_noise_does_not_decide_calibration_images_do() -> None:
    error, said = proved(images)
    assert error is not None
    assert error < 1e-10
    assert said == []
    with pytest.raises(GraphError, match="removing differs from zeroing by"):
        proved(images, wrong=True)


@pytest.mark.parametrize("read", [refuse, lambda: torch.rand(4, 3, 8, 8)])
def test_what_cannot_be_proved_is_said(read: Any) -> None:
    error, said = proved(read)
    assert error is None
    assert len(said) == 1
    assert said[0].startswith("not verified: Detector: its outputs are empty; give ")
