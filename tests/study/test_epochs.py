"""Epochs of a cell's training are told while it runs, each once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from made import study_of

from reconv.steps import Finetune
from reconv.study import Arm, Grid, Network, Study, StudyLog, epochs, run_study
from reconv.study.epochs import watch_epochs


def _write(folder: Path, key: str, *numbers: int, more: str = "") -> None:
    (folder / key).mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps({"epoch": n, "loss": 1 / n}) + "\n" for n in numbers)
    (folder / key / "metrics.jsonl").write_text(lines + more)


def test_the_latest_whole_epoch_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epochs, "SECONDS", 1000)
    cells = {cell.key: cell for cell in study_of("l1", "l2", arms=("short fine-tune",)).cells() if not cell.is_unpruned}
    one, other = cells
    messages: list[str] = []
    _write(tmp_path, one, 1)
    _write(tmp_path, "of another study", 7)
    with watch_epochs(cells, tmp_path, messages.append) as look:
        look()
        assert messages == []  # an earlier try's
        _write(tmp_path, one, 1, 2, more='{"epoch": 3, "lo')
        _write(tmp_path, other, more='{"epoch"')
        look()
        look()
        assert [line.strip() for line in messages] == [f"{cells[one]}: epoch 2 of 2, training loss 0.5"]
        _write(tmp_path, other, 1)
        (tmp_path / one / "metrics.jsonl").unlink()
        look()
        assert len(messages) == 2
        assert str(cells[other]) in messages[1]


class _Notes(StudyLog):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_a_study_tells_them(network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epochs, "SECONDS", 0.01)
    arm = Arm("mine", (Finetune("digits-short", 2),))
    study = Study("t", (network,), (Grid(("net",), ("l1",), ("macs=0.5",), arms=("mine",)),), (arm,))
    progress = _Notes()
    run_study(study, tmp_path / "s", log=progress)
    assert any("net l1 macs=0.5 uniform, mine, seed 0: epoch 1 of 2" in text for text in progress.notes)
