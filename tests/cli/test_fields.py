"""A field of a dataclass is an option: one place for a new one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pytest
import typer

from reconv import select
from reconv.cli.common import compression_of
from reconv.cli.fields import Given, command
from reconv.cli.help import HelpfulCommand
from reconv.cli.options import Data
from reconv.compression import AFTER, Compression
from reconv.errors import ConfigError, UnknownNameError
from reconv.mappings import from_mapping, to_mapping, to_toml
from reconv.steps import Finetune, Recalibrate, Repair


@dataclass(frozen=True)
class Wider(Compression):
    """A compression with a field more.

    Args:
        criterion: the rule that scores channels.
        smoothing: average scores over so many neighbors; None: none.
    """

    smoothing: int | None = None


def _command(function: Any) -> Any:
    app = typer.Typer(rich_markup_mode=None)
    app.command(cls=HelpfulCommand)(command(function))
    return typer.main.get_command(app)


def _call(function: Any, *words: str) -> Any:
    return _command(function)(list(words), standalone_mode=False)


def _given(*words: str, kind: Any = Compression, start: Mapping[str, Any] | None = None) -> Any:
    results: list[Any] = []

    default = Given(kind())

    def call(how: Given[Compression] = default) -> None:
        results.append(how.build(start))

    call.__annotations__["how"] = Given[kind]
    _call(call, *words)
    return results[0] if results else None


def test_a_new_field_is_an_option_a_key_and_a_line_of_help(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = _given("--smoothing", "3", "--budget", "macs=0.25", kind=Wider)
    assert (chosen.smoothing, chosen.budget.macs) == (3, 0.25)
    mapping = to_mapping(chosen)
    assert mapping["smoothing"] == 3
    assert from_mapping(Wider, mapping, "file") == chosen
    assert "smoothing = 3" in to_toml(mapping)
    _given("--help-all", kind=Wider)
    shown = " ".join(capsys.readouterr().out.split())
    assert "--smoothing N Average scores over so many neighbors [default: none]" in shown


def test_a_new_field_reaches_the_function_that_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Any] = []

    def choose(*positional: Any, scheme: str, smoothing: int | None = None) -> None:
        taken.append((scheme, smoothing))

    monkeypatch.setattr(select, "choose", choose)
    unused: Any = None
    select.choose_channels(unused, unused, _given("--smoothing", "3", "--scheme", "global", kind=Wider))
    assert taken == [("global", 3)]


def test_options_say_what_a_file_says() -> None:
    words = (
        *("--criterion", "l1", "--direction", "backward", "--exact", "--scheme", "global", "--rescale", "rank"),
        *("-b", "macs=50%", "-b", "params=0.25", "--coupled", "--reverse", "--minimum", "4", "--exclude", "a.*"),
        *("--limit", "b.*=0.5", "--round-epochs", "2", "--rounds", "3", "--images", "64", "--no-verify", "--seed", "7"),
        *("--repair-images", "32", "--set", "schedule=cosine", "--set", "flip=true", "-e", "1", "--teacher", "base"),
    )
    mapping = {
        "criterion": "l1",
        "direction": "backward",
        "exact": True,
        "scheme": "global",
        "rescale": "rank",
        "budget": {"macs": 0.5, "params": 0.25},
        "coupled": True,
        "reverse": True,
        "limits": {"minimum": 4, "most": {"a.*": 0.0, "b.*": 0.5}},
        "between": {"protocol": "default-between", "epochs": 2},
        "rounds": 3,
        "images": 64,
        "verify": False,
        "seed": 7,
        "after": [
            {"step": "repair", "images": 32},
            {"step": "finetune", "epochs": 1, "changes": {"schedule": "cosine", "flip": True}, "teacher": "base"},
        ],
    }
    assert _given(*words) == Compression.from_mapping(mapping)


@pytest.mark.parametrize(
    ("words", "steps"),
    [
        ((), (Repair(), Finetune())),
        (("--no-repair",), (Finetune(),)),
        (("--no-finetune",), (Repair(),)),
        (("--no-repair", "--recalibrate", "64"), (Recalibrate(64), Finetune())),
        (("--recalibrate", "0"), (Repair(), Finetune())),
        (("--epochs", "0"), (Repair(), Finetune(epochs=0))),
    ],
)
def test_steps_are_added_left_out_and_changed(words: tuple[str, ...], steps: tuple[Any, ...]) -> None:
    assert _given(*words).after == Compression(after=steps).after


def test_an_option_counts_more_than_a_file() -> None:
    start = {"seed": 3, "images": 50, "after": ["finetune"]}
    chosen = _given("--seed", "5", "--repair", start=start)
    assert (chosen.seed, chosen.images, chosen.after) == (5, 50, AFTER)


def test_parameters_of_a_function_are_options_too() -> None:
    results: list[Any] = []

    def call(split: Literal["a", "b"] = "b", names: tuple[str, ...] = ("x",), size: int | None = None) -> None:
        results.append((split, names, size))

    _call(call)
    _call(call, "--split", "a", "--names", "y", "--names", "z", "--size", "3")
    assert results == [("b", ("x",), None), ("a", ("y", "z"), 3)]
    with pytest.raises(UnknownNameError, match="split: 'c' is not known"):
        _call(call, "--split", "c")


def test_the_model_is_the_first_argument_and_an_option() -> None:
    results: list[str] = []

    def call(model: str) -> None:
        results.append(model)

    for words in (["m"], ["--model", "m"], ["-m", "m"]):
        _call(call, *words)
    assert results == ["m"] * 3
    for words in ([], ["m", "--model", "n"]):
        with pytest.raises(ConfigError, match="model"):
            _call(call, *words)


def test_a_step_left_out_has_no_options() -> None:
    with pytest.raises(ConfigError, match="--no-finetune"):
        _given("--no-finetune", "--epochs", "3")


@pytest.mark.parametrize(
    ("words", "teachers"),
    [
        (("--teacher", "base"), ("base", "base")),
        (("--teacher", "base", "--round-teacher", "P"), ("base", "P")),
        ((), (None, None)),
    ],
)
def test_one_teacher_is_for_all_trainings_after_pruning(
    words: tuple[str, ...], teachers: tuple[str | None, ...]
) -> None:
    results: list[Compression] = []
    default = Given(Compression())

    def call(how: Given[Compression] = default) -> None:
        results.append(compression_of(how, Data(), repair=False, finetune=True))

    _call(call, *words)
    (finetune,) = (step for step in results[0].after if isinstance(step, Finetune))
    assert (finetune.teacher, results[0].between.teacher) == teachers
