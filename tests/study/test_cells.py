"""A cell is what its settings are; a grid is a product; bad settings are told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reconv.errors import ReconvError
from reconv.steps import Export, Finetune, Recalibrate, Repair
from reconv.study import ARMS, Arm, Cell, Grid, Network, Store, Study, read_study
from reconv.study.arms import arm_from_mapping
from reconv.study.design import study_from_json
from reconv.study.record import pack, unpack

ROOT = Path(__file__).parents[2]
NETWORK = Network("n", "resnet20", "/a/w.safetensors", {}, "digits", None, "f" * 64, "l" * 64)
CELL = Cell(NETWORK, "nuclear", "macs=0.5", "uniform", ARMS["pruned only"])


def test_where_files_lie_is_not_part_of_a_cell() -> None:
    elsewhere = replace(NETWORK, name="m", weights="/b/w.safetensors", data_root="/c")
    assert replace(CELL, network=elsewhere).key == CELL.key


@pytest.mark.parametrize(
    "change",
    [
        {"criterion": "l1"},
        {"budget": "macs=0.6"},
        {"scheme": "global"},
        {"coupled": True},
        {"split": "validation"},
        {"arm": ARMS["recalibrated"]},
        {"network": replace(NETWORK, fingerprint="e" * 64)},
        {"network": replace(NETWORK, labels="e" * 64)},
    ],
)
def test_every_setting_is_part_of_it(change: dict[str, object]) -> None:
    assert replace(CELL, **change).key != CELL.key  # type: ignore[arg-type]


def test_a_seed_counts_where_it_decides_something() -> None:
    assert replace(CELL, seed=3).key == CELL.key
    for random in (
        {"criterion": "random"},
        {"criterion": "activation"},
        {"arm": ARMS["recalibrated"]},
        {"scheme": "allocated"},
    ):
        cell = replace(CELL, **random)  # type: ignore[arg-type]
        assert replace(cell, seed=3).key != cell.key


def test_an_arms_settings_count_and_its_name_does_not() -> None:
    short = replace(CELL, arm=ARMS["short fine-tune"])

    def trained(**changes: Any) -> Cell:
        return replace(short, arm=Arm("other", (Finetune(**{"protocol": "short", "epochs": 2} | changes),)))

    assert trained().key == short.key
    changes: tuple[dict[str, Any], ...] = (
        {"epochs": 3},
        {"teacher": "base"},
        {"teacher": "/t"},
        {"batch_size": 7},
        {"changes": {"learning_rate": 0.5}},
    )
    assert len({short.key, *(trained(**change).key for change in changes)}) == 1 + len(changes)
    assert short.identity["arm"]["protocol"]["learning_rate"] > 0  # by value, since the file may change


def test_steps_that_the_first_studies_could_not_say_are_part_of_a_cell() -> None:
    arms = [
        Arm("a", after)
        for after in (
            (Repair(),),
            (Repair(300),),
            (Finetune("short"), Recalibrate()),
            (Recalibrate(), Finetune("short")),
        )
    ]
    assert len({replace(CELL, arm=arm).key for arm in arms}) == len(arms)


def test_images_count_where_they_are_looked_at() -> None:
    def with_images(cell: Cell, images: int) -> str:
        return replace(cell, arm=replace(cell.arm, images=images)).key

    assert with_images(CELL, 64) == CELL.key
    for change in ({"arm": ARMS["repaired"]}, {"scheme": "allocated"}, {"criterion": "activation"}):
        cell = replace(CELL, **change)  # type: ignore[arg-type]
        assert with_images(cell, 64) != cell.key


def test_the_identity_is_plain_json() -> None:
    assert json.loads(json.dumps(CELL.identity)) == CELL.identity


def _study(**changes: object) -> Study:
    grid = Grid(("n",), ("nuc", "l1", "random"), ("macs=0.5",), arms=("pruned only", "recalibrated"))
    return Study("t", (NETWORK,), (replace(grid, **changes),))  # type: ignore[arg-type]


def test_a_grid_is_a_product_with_the_whole_network_first() -> None:
    cells = _study().cells()
    assert cells[0].is_unpruned
    assert len(cells) == 1 + 3 * 2
    grown = _study(seeds=2).cells()
    # As cut, only the random criterion has a second seed.
    assert len(grown) == 1 + 6 + 4
    assert {cell.key for cell in cells} <= {cell.key for cell in grown}
    assert len(_study(random_seeds=4).cells()) == 1 + 3 * 2 + 3 * 2
    peers = _study(criteria=("torch-pruning:l1", "torch-pruning:random"), random_seeds=4).cells()
    assert len(peers) == 1 + 2 * 2 + 3 * 2
    assert [cell.seed for cell in grown] == sorted(cell.seed for cell in grown)


def test_combinations_that_mean_nothing_are_left_out() -> None:
    cells = _study(criteria=("reconstruction", "torch-pruning:l1"), schemes=("uniform", "allocated")).cells()
    assert {(cell.criterion, cell.scheme) for cell in cells[1:]} == {
        ("reconstruction", "uniform"),
        ("reconstruction", "allocated"),
        ("torch-pruning:l1", "uniform"),
    }


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"criteria": ("nuclar",)}, "nuclear"),
        ({"criteria": ("torch-pruning:l7",)}, "torch-pruning:l1"),
        ({"budgets": ("macs=1.5",)}, "0.5"),
        ({"budgets": ()}, "budgets"),
        ({"schemes": ("unifrom",)}, "uniform"),
        ({"arms": ("as cat",)}, "pruned only"),
        ({"networks": ("m",)}, "'m'"),
        ({"seeds": 0}, "at least 1"),
    ],
)
def test_bad_settings_are_told(change: dict[str, object], text: str) -> None:
    with pytest.raises(ReconvError, match=text):
        _study(**change)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"mend": "pray"}, "repair"),
        ({"images": 1}, "at least 2"),
        ({"epochs": 3}, "protocol"),
        ({"fresh": True}, "finetune"),
        ({"distilled": True}, "protocol"),
        ({"after": ["pray"]}, "repair"),
        ({"after": [{"step": "repair", "image": 3}]}, "images"),
        ({"after": ["reinitialize"]}, "finetune"),
        ({"after": ["finetune", "finetune"]}, "finetune"),
    ],
)
def test_bad_arms_are_told(values: dict[str, object], text: str) -> None:
    with pytest.raises(ReconvError, match=text):
        arm_from_mapping("x", values)


_TOML = """
title = "t"
[networks.one]
model = "resnet20"
weights = "w.safetensors"
data_set = "digits"
[arms."short fine-tune"]
epochs = 1
[[grids]]
criteria = ["nuc", "l1"]
budgets = ["macs=0.5"]
arms = ["pruned-only", "short fine-tune"]
"""


def test_a_study_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(_TOML)
    study = read_study(tmp_path / "s.toml")
    assert study.networks[0].weights == str(tmp_path / "w.safetensors")
    assert study.arm("short fine-tune").after == (Finetune("short", 1),)
    assert study.grids[0].networks == ("one",)
    assert read_study(tmp_path / "s.toml", weights_root=Path("/w")).networks[0].weights == "/w/w.safetensors"


_FIRST = """
[arms.one]
protocol = "short"
epochs = 1
distilled = true
[arms.two]
mend = "repair"
images = 300
protocol = "short"
[arms.three]
protocol = "fast"
fresh = true
"""
_TODAY = """
[arms.one]
after = [{ step = "finetune", protocol = "short", epochs = 1, teacher = "base" }]
[arms.two]
after = ["repair", { step = "finetune", protocol = "short" }]
images = 300
[arms.three]
after = ["reinitialize", { step = "finetune", protocol = "fast" }]
"""


def test_an_arm_says_every_step_and_every_option_that_was_changed() -> None:
    assert str(Arm("a", (Repair(),))) != str(Arm("a", (Repair(ridge=0.1),)))
    assert "ridge=0.1" in str(Arm("a", (Repair(ridge=0.1),)))
    assert str(Arm("a", (Repair(), Export("net.pt2")))).endswith(", export net.pt2")


def test_arms_as_the_first_studies_wrote_them_are_todays(tmp_path: Path) -> None:
    arms = []
    for text in (_FIRST, _TODAY):
        (tmp_path / "s.toml").write_text(_TOML.replace('[arms."short fine-tune"]\nepochs = 1\n', text))
        arms.append(read_study(tmp_path / "s.toml").arms)
    assert arms[0] == arms[1]


def test_the_published_cells_are_those_of_their_study() -> None:
    """Cells of 9 hours of CPU time are known by the hash of their settings."""
    store = Store(ROOT / "benchmarks/results/study/cifar10")
    stored = {json.loads(line)["key"] for line in (store.path / "cells.jsonl").read_text().splitlines()}
    study = read_study(ROOT / "benchmarks/studies/cifar10.toml", weights_root=Path("/w"))
    for same in (store.requested, replace(study, networks=store.requested.networks)):
        assert {cell.key for cell in same.cells()} == stored
    assert len(stored) == 1146


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ('title = "t"', 'titel = "t"', "title"),
        ('model = "resnet20"', 'modle = "resnet20"', "model"),
        ("epochs = 1", 'epochs = "1"', "a whole number"),
        ("epochs = 1", "epochs = true", "a whole number"),
        ("epochs = 1", 'distilled = "no"', "true or false"),
        ('title = "t"', 'latency = "no"', "true or false"),
        ('title = "t"', "title = 3", "text"),
        ('criteria = ["nuc", "l1"]', 'criteria = "l1"', "a list of texts"),
        ('criteria = ["nuc", "l1"]', "criteria = [1]", "text in quotes"),
        ('arms = ["pruned-only", "short fine-tune"]', "seeds = 1.5", "seeds = 1.5; give a whole number"),
        ('arms = ["pruned-only", "short fine-tune"]', 'coupled = "no"', "true or false"),
        ('weights = "w.safetensors"', "weights = 3", "text"),
        ('weights = "w.safetensors"', 'fingerprint = "f"', "fingerprint"),
        ('"macs=0.5"', '"latency=0.5"', "depends on the machine"),
        ("epochs = 1", "epoch = 1", "after"),
        ('budgets = ["macs=0.5"]', "", "budgets"),
        ('criteria = ["nuc", "l1"]', "criteria = 3", "a list of texts"),
        ('budgets = ["macs=0.5"]', 'budgets = "macs=0.8"', "a list of texts"),
        ('model = "resnet20"', "model = 3", "text"),
        ('data_set = "digits"', "data_set = 3", "text"),
        ('data_set = "digits"', "data_root = 3", "text"),
        ('data_set = "digits"', 'arguments = "x"', "a table"),
        ('title = "t"', 'description = ["a"]', "text"),
        ('arms = ["pruned-only", "short fine-tune"]', "seeds = true", "a whole number"),
        ("[[grids]]", "[grids]", r"write \[\[grids\]\]"),
    ],
)
def test_a_bad_file_is_told(old: str, new: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(_TOML.replace(old, new))
    with pytest.raises(ReconvError, match=text):
        read_study(tmp_path / "s.toml")


def test_bits_are_packed_and_unpacked() -> None:
    bits = np.random.default_rng(0).random(1003) < 0.7
    assert (unpack(pack(bits), len(bits)) == bits).all()


def test_two_networks_of_one_name_are_told() -> None:
    with pytest.raises(ReconvError, match="'n'"):
        replace(_study(), networks=(NETWORK, replace(NETWORK, model="resnet56")))


def test_an_option_of_a_grid_is_one_of_each_cells_compression_and_of_its_record() -> None:
    for value in (False, True):
        study = _study(criteria=("l1",), coupled=value)
        cell = study.cells()[1]
        assert (cell.compression.coupled, cell.identity["coupled"], cell.note != "") == (value,) * 3
        assert study_from_json(study.to_json()).cells()[1].compression.coupled is value
    assert replace(study.cells()[1], coupled=False).key == _study(criteria=("l1",)).cells()[1].key
