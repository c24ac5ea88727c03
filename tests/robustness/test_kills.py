"""A small part of `benchmarks/robustness/kills.py`: what is killed, or finds the disk full, gives the same again."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from children import CRASHED, KILLED, STUCK, Attack, one_line, run_forked

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


@pytest.mark.slow
def test_tasks_killed_at_random_moments_give_the_same_bits(tmp_path: Path) -> None:
    """In a process of its own, since one that has computed gradients forks no children that do."""
    script = Path(__file__).parents[2] / "benchmarks" / "robustness" / "kills.py"
    result = tmp_path / "kills.json"
    command = [sys.executable, str(script), "--kills", "20", "--full", "10", "--seed", "5", "--out", str(result)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=550)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.usefixtures("own_registries")
def test_a_save_that_is_killed_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    from interruptions import Bench, Report, fill, kill
    from small import register_small
    from tasks import TASKS

    register_small()

    (task,) = (task for task in TASKS if task.name == "save")
    bench, report, rng = Bench(task, tmp_path), Report(), random.Random(0)
    for _ in range(4):
        kill(bench, rng, report)
    for _ in range(3):
        fill(bench, rng, report)
    assert report.faults == []
    assert report.attacks["save"] >= 4


def test_how_a_child_ended_is_told(tmp_path: Path) -> None:
    def write(code: int) -> int:
        for number in range(5):
            (tmp_path / str(number)).write_text("x")
        print("out")
        print("error: one", file=sys.stderr)
        return code

    ended = run_forked(lambda: write(2), tmp_path)
    assert (ended.code, ended.out, one_line(ended.err), ended.events) == (2, "out\n", "error: one", 5)
    for number in range(5):
        (tmp_path / str(number)).unlink()
    assert run_forked(lambda: write(0), tmp_path, Attack(at_event=3)).code == KILLED
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.isdigit()) == ["0", "1"]
    full = run_forked(lambda: write(0), tmp_path, Attack(full_from=4))
    assert full.code == 70
    assert "No space left" in full.err
    assert run_forked(lambda: os.abort(), tmp_path).code == CRASHED
    assert run_forked(endless, tmp_path, limit=0.1).code == STUCK
    assert run_forked(endless, tmp_path, Attack(after=0.05)).code == KILLED


def endless() -> int:
    while True:
        pass
