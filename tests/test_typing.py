"""What a type checker finds in code that uses reconv."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODE = """
import torch
import reconv

graph = reconv.trace(torch.nn.Linear(3, 2), torch.zeros(1, 3))
scores = reconv.score(graph, "l1", direction="forward", seed=1)
reconv.score(graph, "l1", direktion="forward")
reconv.score(graph, "l1", direction="sideways")
reconv.score_all(graph, ["l1"], sead=3)
reconv.choose(graph, scores, reconv.Budget(macs=0.5), scheme="global")
reconv.choose(graph, scores, reconv.Budget(macs=0.5), schema="global")
reconv.choose(graph, scores, reconv.Budget(macs=0.5), coupled="yes")
reconv.gather_gradients(graph, [torch.zeros(1, 3)], los=torch.sum)
reconv.Criterion("mine", "of mine", needs={"gradient"}, norm="nuclear")
reconv.register(3)
"""
FAULTY = [7, 8, 9, 11, 12, 13, 14, 15]  # lines of it


@pytest.mark.slow
def test_a_wrong_keyword_or_value_is_found_before_it_runs(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    file = tmp_path / "user.py"
    file.write_text(CODE)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", str(ROOT / "pyproject.toml"), str(file)]
    environment = os.environ | {"MYPYPATH": str(ROOT / "src"), "PYTHONPATH": ""}
    out = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False).stdout
    lines = {int(line) for line in re.findall(r"user\.py:(\d+): error", out)}
    assert sorted(lines) == FAULTY, out
