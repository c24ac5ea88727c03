"""Two processes that share each batch train as one does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_train import Recorder, listening
from tiny import protocol, tiny_data, tiny_net

from reconv.files import read_tensors
from reconv.training import evaluate, train

KEYS = {"epochs": 7, "ema": 0.9, "flip": True, "padding": 1, "erasing": 0.3, "clip_norm": 1.0}

SCRIPT = """
import json, os, sys
from dataclasses import replace
from pathlib import Path
import torch
from test_train import Recorder, listening
from tiny import protocol, tiny_data, tiny_net
from reconv.files import write_tensors
from reconv.training import evaluate, train
from reconv.training.processes import leave

folder, keys, resume = Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3] == "resume"

def stop():
    os.kill(os.getpid(), 15)

recorder = Recorder(-1 if resume else keys.pop("stop", -1), stop)
keys.pop("stop", None)
session = listening(recorder, folder=folder / "run", resume=True)
result = train(tiny_net(dropout=0.0), tiny_data(), protocol(**keys), session=session)
figures = evaluate(result.model, tiny_data())
if torch.distributed.get_rank() == 0:
    told = {"losses": [r.loss for r in recorder.steps], "top1": [r.top1 for r in recorder.steps]}
    (folder / "told.json").write_text(json.dumps(told | {"test": [figures.top1, figures.loss, figures.n]}))
    write_tensors(folder / "result.safetensors", result.model.state_dict())
torch.distributed.destroy_process_group()
leave(0)
"""


def two_processes(folder: Path, keys: dict[str, object], how: str = "new") -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    script = folder / "script.py"
    script.write_text(SCRIPT)
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*launcher, str(script), str(folder), json.dumps(keys), how],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.slow
def test_two_processes_give_the_loss_curve_of_one(tmp_path: Path) -> None:
    done = two_processes(tmp_path, KEYS)
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "told.json").read_text())
    recorder = Recorder()
    one = train(tiny_net(dropout=0.0), tiny_data(), protocol(**KEYS), session=listening(recorder))
    losses = torch.tensor([record.loss for record in recorder.steps])
    assert len(losses) == 21
    torch.testing.assert_close(torch.tensor(told["losses"]), losses, rtol=0, atol=1e-4)
    assert told["top1"] == pytest.approx([record.top1 for record in recorder.steps])
    figures = evaluate(one.model, tiny_data())
    assert told["test"] == pytest.approx([figures.top1, figures.loss, figures.n], abs=1e-4)
    weights = read_tensors(tmp_path / "result.safetensors")
    torch.testing.assert_close(weights, dict(one.model.state_dict()), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_a_signal_to_one_process_stops_both_and_they_go_on(tmp_path: Path) -> None:
    whole = two_processes(tmp_path / "whole", KEYS)
    assert whole.returncode == 0, whole.stderr
    stopped = two_processes(tmp_path / "parts", KEYS | {"stop": 10})
    assert stopped.returncode != 0
    assert stopped.stderr.count("stopped after step 11 of 21; the last checkpoint is") == 2
    assert signal.SIGTERM.name in stopped.stderr
    assert not (tmp_path / "parts" / "told.json").exists()
    resumed = two_processes(tmp_path / "parts", KEYS, "resume")
    assert resumed.returncode == 0, resumed.stderr
    one, other = (read_tensors(tmp_path / name / "result.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(one[name], other[name]) for name in one)
