"""A study that is stopped from outside says how to go on, and leaves no process behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from test_executors import _is_running, _wait_for

from reconv.cli import study_out
from reconv.cli.app import main
from reconv.study import Cell, Network, StudyLog

_PARENT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_executors
from reconv.study import executors
from reconv.study.compute import ComputeOptions
executors._attempt = test_executors._sleeps
list(executors.in_processes(test_executors._CELLS, ComputeOptions("cpu", Path(sys.argv[2])), 2))
"""


@pytest.mark.slow
def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", _PARENT, str(Path(__file__).parent), str(tmp_path)])
    _wait_for(lambda: len(list(tmp_path.iterdir())) == 2, 120)
    workers = [int(file.name) for file in tmp_path.iterdir()]
    try:
        assert len(workers) == 2
        parent.kill()
        parent.wait()
        _wait_for(lambda: not any(map(_is_running, workers)), 20)
        assert not any(map(_is_running, workers))
    finally:
        for pid in filter(_is_running, workers):
            os.kill(pid, signal.SIGKILL)


class _Terminates(StudyLog):
    def done(self, cell: Cell, accuracy: float | None, seconds: float, why: str) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_says_how_to_go_on(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(study_out, "Lines", _Terminates)
    before = signal.signal(signal.SIGTERM, lambda *_: pytest.fail("SIGTERM was left to others"))
    try:
        arguments = ["study", "--model", "resnet20", "--weights", str(network.weights), "-d", "digits", "-c", "l1"]
        assert main([*arguments, "--save-path", str(tmp_path / "s")]) == 130
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)
    assert f"--save-path {tmp_path / 's'}" in capsys.readouterr().err
    assert len(list((tmp_path / "s" / "cells").iterdir())) == 1
