"""A model's provenance follows it, and survives JSON."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from torch import nn

from reconv.errors import ArtifactError, ConfigError
from reconv.provenance import IMAGENET, ModelSpec, Normalization, Provenance, attach, provenance_of

FULL = Provenance(
    spec=ModelSpec("resnet20", {"widths": (4, 8, 16)}),
    edits={"conv1": {"out_channels": 3}, "norm": {"normalized_shape": (3,)}},
    normalization=IMAGENET,
    notes=("assumed",),
)


def test_a_model_without_one_has_an_empty_one() -> None:
    assert provenance_of(nn.Linear(1, 1)) == Provenance()


def test_it_survives_deepcopy_and_changes_of_dtype_and_mode() -> None:
    model = attach(nn.Linear(1, 1), FULL)
    assert provenance_of(copy.deepcopy(model).double().eval()) == FULL


def test_it_leaves_the_state_dict_alone() -> None:
    assert attach(nn.Linear(1, 1), FULL).state_dict().keys() == nn.Linear(1, 1).state_dict().keys()


@pytest.mark.parametrize("provenance", [FULL, Provenance()])
def test_json_brings_it_back(provenance: Provenance) -> None:
    assert Provenance.from_json(json.loads(json.dumps(provenance.to_json())), "here") == provenance


def test_later_edits_replace_earlier_ones_by_attribute() -> None:
    twice = FULL.edited({"conv1": {"out_channels": 2, "groups": 2}})
    assert twice.edits["conv1"] == {"out_channels": 2, "groups": 2}
    assert twice.edits["norm"] == FULL.edits["norm"]
    assert FULL.edits["conv1"] == {"out_channels": 3}


@pytest.mark.parametrize(
    "change",
    [
        {"edits": {"conv1": {"out_channels": "3"}}},
        {"edits": {"conv1": {"out_channels": True}}},
        {"edits": {"conv1": {"normalized_shape": [1.5]}}},
        {"edits": ["conv1"]},
        {"model": {"name": "resnet20"}},
        {"normalization": {"mean": [0.5], "std": [0.0]}},
        {"normalization": {"mean": ["x"], "std": [1.0]}},
    ],
)
def test_what_is_no_provenance_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError, match=r"file\.json: does not describe a model"):
        Provenance.from_json({**FULL.to_json(), **change}, "file.json")
    with pytest.raises(ArtifactError):
        Provenance.from_json([], "file.json")


def test_arguments_that_cannot_be_saved_are_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be saved"):
        ModelSpec("resnet18", {"norm_layer": nn.BatchNorm2d})


def test_a_normalization_needs_one_positive_std_a_channel() -> None:
    with pytest.raises(ConfigError, match="positive std"):
        Normalization((0.5, 0.5), (0.1,))
