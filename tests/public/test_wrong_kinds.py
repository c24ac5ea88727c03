"""An argument of the wrong kind is refused by a sentence that says what to pass."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import reconv
from reconv.errors import WrongKindError

MODEL = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
EXAMPLE = torch.zeros(1, 3, 8, 8)

CALLS: dict[str, tuple[Callable[[], object], str]] = {
    "trace a name": (
        lambda: reconv.trace("resnet20", EXAMPLE),
        r"trace: model is 'resnet20' \(str\); pass a torch\.nn",
    ),
    "prune by a number": (lambda: reconv.prune(MODEL, 0.5), r"prune: plan is 0\.5 \(float\); pass the plan"),
    "prune a name": (lambda: reconv.prune("resnet20", 0.5), "prune: model is"),
    "save a name": (lambda: reconv.save("resnet20", "folder"), "save: model is"),
    "save to a model": (lambda: reconv.save(MODEL, MODEL), "save: path is a Sequential; pass the path"),
    "save with a budget": (lambda: reconv.save(MODEL, "folder", plan=0.5), "save: plan is"),
    "load a model": (lambda: reconv.load(MODEL), "load: path is a Sequential; pass the path of a folder"),
    "load into a name": (lambda: reconv.load("folder", model="resnet20"), "load: model is"),
    "load_model a model": (lambda: reconv.load_model(MODEL), "load_model: name is a Sequential"),
}


@pytest.mark.parametrize("name", CALLS)
def test_it_says_what_to_pass(name: str) -> None:
    call, message = CALLS[name]
    with pytest.raises(WrongKindError, match=message) as caught:
        call()
    assert isinstance(caught.value, reconv.ReconvError)
    assert "\n" not in str(caught.value)
