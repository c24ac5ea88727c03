"""The command line under a launcher: several processes, one result."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from reconv.artifacts import load

NET = ("--model", "resnet20", "--data-set", "digits", "--device", "cpu")
LAUNCHER = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "reconv")


def call(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.slow
def test_torchrun_trains_and_finetunes_as_one_process_does(tmp_path: Path) -> None:
    """Sixteen small steps, since large ones let rounding grow: the same loss, one folder, one voice."""
    words = (*NET, "--epochs", "1", "--set", "learning_rate=3e-4", "--set", "warmup_epochs=0")
    alone = call("reconv", "train", *words, "--save-path", tmp_path / "alone")
    assert alone.returncode == 0, alone.stderr
    shared = call(*LAUNCHER, "train", *words, "--save-path", tmp_path / "shared")
    assert shared.returncode == 0, shared.stderr
    assert shared.stdout.count("\ntest ") == 1
    assert shared.stderr.count("epoch 1/1") == 1
    one, two = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("alone", "shared"))
    assert two["history"][0]["loss"] == pytest.approx(one["history"][0]["loss"], rel=1e-3)
    assert two["test"]["n"] == one["test"]["n"] == 360
    weights = [load(tmp_path / name / "model").state_dict()["conv1.weight"] for name in ("alone", "shared")]
    torch.testing.assert_close(*weights, rtol=1e-2, atol=1e-2)
    data = ("--data-set", "digits", "--device", "cpu", "--epochs", "1", "--teacher", tmp_path / "alone")
    tuned = call(*LAUNCHER, "finetune", "--refine", tmp_path / "shared", *data, "--save-path", tmp_path / "tuned")
    assert tuned.returncode == 0, tuned.stderr
    assert json.loads((tmp_path / "tuned" / "metrics.json").read_text())["history"][0]["epoch"] == 1


@pytest.mark.slow
def test_what_several_processes_cannot_do_is_one_line_each(tmp_path: Path) -> None:
    unnamed = call(*LAUNCHER, "train", *NET)
    assert unnamed.returncode != 0
    assert "error: 2 processes: they have to agree on a folder; give --save-path P" in unnamed.stderr
    run = call(*LAUNCHER, "run", "--save-path", tmp_path / "run")
    assert "run: 2 processes; train and finetune share their work among several" in run.stderr
    assert not (tmp_path / "run").exists()
