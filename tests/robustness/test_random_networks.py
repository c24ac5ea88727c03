"""Random networks are pruned right, by an oracle that knows nothing of the engine.

A few here; thousands by `python benchmarks/robustness/random_networks.py --count 2000 --seed 0`.
"""

from __future__ import annotations

import random

import pytest
import torch
from network_grammar import FUNCTIONS, STEPS, Function, Program, build, draw_program
from network_oracle import judge, zeroed
from torch import nn

import reconv

SEEDS = (1, 2, 3, 4, 5, 6, 8, 9)
# Networks whose cuts were wrong once.
FOUND = {
    "two attentions in a row": Program(((0, 525177917), (13, 26547706), (13, 1032719524)), 115144592, 12),
    "a slice of a concatenation": Program(((0, 189079167), (10, 496654097), (14, 823423486)), 223701233, 12),
    "a mixer after twice as many channels": Program(
        ((9, 461072020), (11, 738592838), (2, 902997943), (17, 47040589)), 243308321, 8
    ),
    "a shuffle of four channels": Program(
        ((0, 41730122), (0, 502321036), (0, 130606006), (15, 995674074)), 278589149, 8
    ),
}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_network_is_pruned_right(seed: int) -> None:
    draw = random.Random(seed)
    verdict = judge(draw_program(seed), draw.choice(("uniform", "global")), draw.choice((0.3, 0.5, 0.7)))
    assert not verdict.fault, verdict


@pytest.mark.parametrize("name", FOUND)
@pytest.mark.parametrize(("scheme", "share"), [("uniform", 0.5), ("global", 0.3), ("uniform", 0.7)])
def test_what_was_wrong_once_is_right(name: str, scheme: str, share: float) -> None:
    verdict = judge(FOUND[name], scheme, share)
    assert verdict.kind == "right", verdict


def test_the_same_seed_draws_the_same_network() -> None:
    one, other = (build(draw_program(5))[0] for _ in range(2))
    assert str(one) == str(other)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_the_grammar_reaches_every_step() -> None:
    found = set()
    for seed in range(120):
        model, _ = build(draw_program(seed))
        found |= {module.name if isinstance(module, Function) else type(module).__name__ for module in model.modules()}
    assert len(found & set(FUNCTIONS)) > 0.6 * len(FUNCTIONS)
    assert {"Attention", "Residual", "Concatenated", "Partial", "ScaledNorm", "Gate", "ConvTranspose2d"} <= found
    assert max(kind for kind, _ in draw_program(0).steps) < len(STEPS)


def test_the_oracle_knows_where_numbers_come_from() -> None:
    model, example = build(Program(((0, 1), (0, 2)), 3, 8))
    graph = reconv.trace(model, example)
    plan = reconv.choose(graph, reconv.score(graph, "l2"), reconv.Budget(channels=0.5))
    small = reconv.prune(model, plan)
    big = zeroed(model, small)
    for name, parameter in big.named_parameters():
        assert int((parameter != 0).sum()) == small.get_parameter(name).numel()
    first = small[0]
    assert isinstance(first, nn.Conv2d)
    with torch.no_grad():
        first.weight.add_(1)
    with pytest.raises(AssertionError, match="holds numbers that the big one does not"):
        zeroed(model, small)
