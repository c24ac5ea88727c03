"""Mappings: what is written is read again, and what cannot be read is refused with what would be right."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from reconv import Budget, Compression, Finetune, Limits, Recalibrate, Repair
from reconv.errors import ConfigError, ReconvError, UnknownNameError
from reconv.mappings import from_mapping, to_mapping, to_toml

COMPRESSIONS = (
    Compression(),
    Compression(criterion="l1", budget=Budget(macs=0.3, latency=3000.0), coupled=True, verify=False, seed=3),
    Compression(budget=None, recipe=2, after=()),
    Compression(scheme="allocated", calibration="leaves", limits=Limits(2, 4, {"layer1.*": 0.25, "a b": 0.0})),
    Compression(rounds=3, between=Finetune("short", epochs=1), after=(Repair(300), Finetune("paper", teacher="base"))),
    Compression(after=(Recalibrate(50), Finetune(changes={"flip": True, "milestones": [1.5, 2]})), scheme="knapsack"),
)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_what_is_written_is_read_again(compression: Compression) -> None:
    mapping = compression.to_mapping()
    assert Compression.from_mapping(mapping) == compression
    assert Compression.from_mapping(json.loads(json.dumps(mapping))) == compression
    assert Compression.from_mapping(tomllib.loads(to_toml(mapping))) == compression


def test_short_forms() -> None:
    short = {"budget": "macs=0.3, latency=3ms", "after": ["repair", {"step": "finetune", "epochs": 2}]}
    assert Compression.from_mapping(short) == Compression(
        budget=Budget(macs=0.3, latency=3000.0), after=(Repair(), Finetune(epochs=2))
    )
    assert Compression.from_mapping({"budget": ["macs=1k"]}).budget == Budget(macs=1000)
    assert Compression.from_mapping({"budget": {"latency": "3ms", "macs": 0.5, "size": None}}).budget == Budget(
        macs=0.5, latency=3000.0
    )


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"budgit": 1}, ("f.toml: key", "did you mean budget?")),
        ({"budget": 3}, ("f.toml: budget = 3", '"macs=0.5"')),
        ({"budget": {"mac": 1}}, ("did you mean macs?",)),
        ({"rounds": "3"}, ("f.toml: rounds = '3'", "a whole number")),
        ({"rounds": True}, ("f.toml: rounds = True", "a whole number")),
        ({"exact": 1}, ("f.toml: exact = 1", "true or false")),
        ({"criterion": 3}, ("criterion: 3", "nuclear")),
        ({"scheme": "unifrm"}, ("f.toml: scheme: 'unifrm'", "did you mean uniform?")),
        ({"after": "repair"}, ("f.toml: after = 'repair'", "a list")),
        ({"after": ["repare"]}, ("f.toml: after[0]: step", "did you mean repair")),
        ({"after": ["repair", {"images": 3}]}, ("f.toml: after[1] = {'images': 3}", "step = one of", '"finetune"')),
        ({"after": [{"step": "repair", "imges": 3}]}, ("f.toml: after[0]: key", "did you mean images")),
        ({"after": [{"step": "repair", "images": "x"}]}, ("f.toml: after[0].images = 'x'", "a whole number")),
        ({"limits": {"most": {"a.*": "x"}}}, ("f.toml: limits.most.a.* = 'x'", "a number")),
        ([1], ("f.toml = [1]", "a table")),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_would_be_right(mapping: Any, words: tuple[str, ...]) -> None:
    with pytest.raises(ReconvError) as error:
        Compression.from_mapping(mapping, "f.toml")
    assert all(word in str(error.value) for word in words), error.value


@dataclass(frozen=True)
class Point:
    x: float
    y: float = 0.0


@dataclass(frozen=True)
class Shape:
    name: str
    corners: tuple[Point, ...] = ()
    size: tuple[int, int] = (1, 1)
    fill: Literal["none", "solid"] = "none"
    colors: Mapping[str, float] = field(default_factory=dict)
    parent: str | None = None


def test_nested_dataclasses_and_tuples() -> None:
    shape = Shape("s", (Point(1), Point(2, 3)), (4, 5), "solid", {"red": 1.0}, "p")
    assert from_mapping(Shape, to_mapping(shape), "shape") == shape
    assert isinstance(from_mapping(Point, {"x": 1}, "point").x, float)


def test_missing_keys_hidden_fields_and_defaults() -> None:
    with pytest.raises(ConfigError, match=r"point: no x; give a number"):
        from_mapping(Point, {"y": 1}, "point")
    assert from_mapping(Point, {"y": 1}, "point", defaults={"x": 2}) == Point(2, 1)
    with pytest.raises(UnknownNameError):
        from_mapping(Shape, {"name": "s"}, "shape", hidden=("name",), defaults={"name": "t"})
    assert from_mapping(Point, {"x": 1, "z": 3}, "point", strict=False) == Point(1)
    with pytest.raises(ConfigError, match="give 2 values"):
        from_mapping(Shape, {"name": "s", "size": [1]}, "shape")


def test_reading_a_compression_needs_no_pytorch() -> None:
    code = (
        "import sys, reconv.compression; reconv.compression.Compression.from_mapping({}); print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
