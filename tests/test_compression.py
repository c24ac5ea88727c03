"""A `Compression` refuses combinations that cannot be, whoever made it."""

from __future__ import annotations

from typing import Any

import pytest

from reconv import Budget, Compression, Finetune, Limits, Recalibrate, Repair, choose, score
from reconv.compression import CHOICE
from reconv.errors import ConfigError


def test_a_budget_is_half_the_macs_where_nothing_is_said() -> None:
    assert Compression().budget == Budget(macs=0.5)
    assert Compression(recipe=1).budget is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"recipe": 1, "budget": Budget(macs=0.5)}, "give one of them"),
        ({"recipe": 1, "limits": Limits(minimum=2)}, "limits"),
        *(
            ({"recipe": 1, "scheme": scheme}, f"scheme {scheme}: the paper")
            for scheme in ("global", "knapsack", "allocated")
        ),
        ({"recipe": 1, "coupled": True}, "coupled"),
        ({"recipe": 1, "rounds": 2}, "rounds"),
        ({"rounds": 0}, "rounds: 0"),
        ({"rounds": 2, "scores": "s.safetensors"}, "saved scores"),
        ({"rounds": 2, "budget": Budget(latency=3000.0)}, "latency=0.5"),
        ({"rounds": 2, "budget": Budget(channels=100)}, "channels=0.5"),
        ({"rescale": "max"}, "global or knapsack"),
        ({"criterion": "activation", "direction": "backward"}, "leave direction out"),
        ({"images": 1}, "images: 1"),
        ({"calibration": "leaves", "after": ()}, "nothing looks at images"),
        ({"after": (Repair(), Recalibrate())}, "leave one of them out"),
        ({"after": (Recalibrate(), Repair())}, "leave one of them out"),
        ({"after": (Finetune(), Repair(), Finetune("short"))}, "finetune twice"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Compression(**options)


def test_options_of_steps_are_checked() -> None:
    for make in (
        lambda: Repair(1),
        lambda: Recalibrate(1),
        lambda: Finetune(epochs=-1),
        lambda: Finetune(batch_size=0),
    ):
        with pytest.raises(ConfigError):
            make()


def test_the_options_of_a_choice_are_those_that_choose_takes() -> None:
    how = Compression(scheme="global", coupled=True, seed=3)
    assert {"budget", *how.options_of(choose)} == set(CHOICE)
    assert set(how.options_of(score)) == {"direction", "exact", "seed"}
    taken: dict[str, Any] = {"scheme": "global", "rescale": "mean", "coupled": True, "depth": None, "reverse": False}
    assert how.options_of(choose) == taken | {"limits": Limits()}


def test_what_looks_at_images() -> None:
    assert not Compression().looks_at_images
    assert Compression(scheme="allocated").looks_at_images
    assert Compression(criterion="reconstruction").looks_at_images
    assert not Compression(criterion="reconstruction", scores="s.safetensors").looks_at_images
