"""An argument of the wrong kind is refused by a sentence that says what to pass."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import reconv
from reconv.errors import ReconvError

MODEL = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
EXAMPLE = torch.zeros(1, 3, 8, 8)
GRAPH = reconv.trace(MODEL, EXAMPLE)
SCORES = reconv.score(GRAPH, "l1")
PLAN = reconv.choose(GRAPH, SCORES, reconv.Budget(macs=0.5))

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
    "score a model": (lambda: reconv.score(MODEL, "l1"), "score.* a Sequential; .*graph"),
    "choose by a name": (
        lambda: reconv.choose(GRAPH, "l1", reconv.Budget(macs=0.5)),
        r"choose: .*is 'l1' ",
    ),
    "choose by a number": (
        lambda: reconv.choose(GRAPH, SCORES, 0.5),
        r"choose: budget is 0\.5 ",
    ),
    "choose for a model": (lambda: reconv.choose(MODEL, SCORES, reconv.Budget(macs=0.5)), "choose: graph is a Seq"),
    "verify a name": (lambda: reconv.verify("resnet20", MODEL, None), "verify: model is"),
    "verify without a plan": (lambda: reconv.verify(MODEL, MODEL, 0.5), "verify: plan is"),
    "profile a name": (lambda: reconv.profile("resnet20"), "profile: .* is 'resnet20'"),
    "repair a name": (
        lambda: reconv.repair("resnet20", plan=PLAN, reference=MODEL, images=EXAMPLE),
        "repair: .*is 'resnet20'",
    ),
    "repair by a loader": (
        lambda: reconv.repair(MODEL, plan=PLAN, reference=MODEL, images=[EXAMPLE]),
        "repair: 1 inputs; give at least two",
    ),
    "gather_moments of a model": (
        lambda: reconv.gather_moments(MODEL, EXAMPLE),
        "gather_moments.* a Seq",
    ),
    "gather_gradients of a model": (
        lambda: reconv.gather_gradients(MODEL, [EXAMPLE]),
        "gather_grad.* a Seq",
    ),
    "error_curves of a model": (lambda: reconv.error_curves(MODEL, {}), "error_curves: graph is"),
    "measure_latency of a name": (lambda: reconv.measure_latency("resnet20", EXAMPLE), "measure_latency: .*is"),
    "measure_memory of a name": (lambda: reconv.measure_memory("resnet20", EXAMPLE), "measure_memory: model is"),
    "measure_layers of a model": (lambda: reconv.measure_layers(MODEL), "measure_layers: graph is"),
    "choose_widths of a model": (lambda: reconv.choose_widths(MODEL, SCORES, {}), "choose_widths: graph is"),
    "export a name": (lambda: reconv.export("resnet20", "f.pt2", example=EXAMPLE), "export: model is"),
    "load_recipe of a model": (lambda: reconv.load_recipe(MODEL, 1), "load_recipe: model is"),
    "compress a number": (lambda: reconv.compress(0.5, EXAMPLE), "compress: model is"),
    "compress by a budget": (lambda: reconv.compress(MODEL, EXAMPLE, reconv.Budget(macs=0.5)), "compress: comp"),
    "load_model a model": (lambda: reconv.load_model(MODEL), "load_model: name is a Sequential"),
}


@pytest.mark.parametrize("name", CALLS)
def test_it_says_what_to_pass(name: str) -> None:
    call, message = CALLS[name]
    with pytest.raises(ReconvError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
