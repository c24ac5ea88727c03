"""A small part of `benchmarks/robustness/fuzz.py`: mutated files, random command lines: one line, or success."""

from __future__ import annotations

import random
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import attempts
import pytest
from attempts import DONE, FAULT, REFUSED, attempt, limited
from command_lines import draw, fuzz_commands
from fuzzing import Counts, fuzz_files
from mutations import mutate
from small import register_small
from subjects import Subject, subjects

from reconv.errors import ArtifactError

pytestmark = [
    pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="no alarms here"),
    pytest.mark.usefixtures("own_registries"),
]


@pytest.fixture
def kinds(tmp_path: Path) -> tuple[Subject, ...]:
    register_small()
    (tmp_path / "made").mkdir()
    return subjects(tmp_path / "made")


def test_every_kind_of_file_is_read_as_it_is_and_in_one_line_if_mutated(
    kinds: tuple[Subject, ...], tmp_path: Path
) -> None:
    for kind in kinds:
        for name, content in kind.files.items():
            (tmp_path / kind.name / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / kind.name / name).write_bytes(content)
        assert attempt(lambda kind=kind: kind.read(tmp_path / kind.name)) == (DONE, "")  # type: ignore[misc]
    counts = Counts()
    fuzz_files(kinds, range(10_000, 10_210), tmp_path / "mutated", counts)
    assert counts.faults == []
    assert counts.total == 210
    assert sum(counts.by_kind.values(), Counter())[REFUSED] > 70


@pytest.mark.slow
def test_command_lines_end_in_one_line(tmp_path: Path) -> None:
    register_small()
    counts = Counts()
    fuzz_commands(range(20_000, 20_015), tmp_path / "a", counts, whole=False)
    assert counts.faults == []
    assert counts.total == 15


@pytest.mark.slow
def test_command_lines_that_are_carried_out_end_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register_small()
    monkeypatch.setattr("reconv.results.measure.LATENCY_SECONDS", 0.01)
    counts = Counts()
    fuzz_commands(range(30_000, 30_030), tmp_path / "a", counts, whole=True)
    assert counts.faults == []


def test_a_seed_decides_a_mutation_and_a_command_line(kinds: tuple[Subject, ...]) -> None:
    content = kinds[0].files["manifest.json"]
    assert mutate(content, random.Random(1)) == mutate(content, random.Random(1))
    assert len({mutate(content, random.Random(seed)) for seed in range(50)}) > 40
    assert draw(random.Random(1), whole=False) == draw(random.Random(1), whole=False)


@pytest.mark.parametrize("content", [b"", b"x", b"{}", b"[]", bytes(100), b"PK\x03\x04" + bytes(30), b"\xff" * 9])
def test_whatever_is_given_is_mutated(content: bytes) -> None:
    for seed in range(100):
        assert isinstance(mutate(content, random.Random(seed)), bytes)


def endless() -> None:
    while True:
        pass


def crash() -> None:
    raise KeyError("conv1")


def two_lines() -> None:
    raise type("E", (ArtifactError,), {"__str__": lambda self: "a\nb"})


@pytest.mark.parametrize("act", [endless, crash, two_lines])
def test_what_may_not_be_is_a_fault(act: Callable[[], None]) -> None:
    outcome, text = attempt(act, 0.1)
    assert outcome == FAULT
    assert text


def test_the_alarm_is_put_back() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(attempts.TooLong), limited(0.01):
        endless()
    assert signal.getsignal(signal.SIGALRM) is before
    assert sys.exc_info() == (None, None, None)
