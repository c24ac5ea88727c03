"""What people see: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any, ClassVar

import pytest
from rich.console import Console
from tiny import protocol, tiny_data, tiny_net

from reconv.errors import ConfigError, UnknownNameError
from reconv.training import Session, train
from reconv.training.progress import Bar, Lines


def test_elsewhere_it_is_a_line_an_epoch_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    train(tiny_net(), tiny_data(), protocol(epochs=2), session=Session(device="cpu", title="base"))
    out, error = capsys.readouterr()
    assert out == ""
    lines = error.splitlines()
    assert len(lines) == 2
    figures = r": loss \d\.\d{4}, top-1 \d+\.\d\d%, validation \d+\.\d\d%, [\d,]+ images/s"
    for number, line in enumerate(lines, 1):
        assert re.fullmatch(rf"base epoch {number}/2{figures}", line)
        assert "\x1b" not in line


def test_on_a_terminal_it_is_a_bar_with_figures() -> None:
    screen = io.StringIO()
    bar = Bar(Console(file=screen, force_terminal=True, width=140), "base")
    session = Session(device="cpu", progress=False, listeners=(bar,))
    train(tiny_net(), tiny_data(), protocol(epochs=3), session=session)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue())
    assert "9/9" in shown
    for figure in (r"loss \d\.\d{3}", r"top-1 \d+\.\d%", r"[\d,]+ images/s", r"validation \d+\.\d\d%", r"0:00:00"):
        assert re.search(figure, shown), figure


@pytest.mark.parametrize("width", [60, 80, 100])
def test_on_a_narrow_terminal_step_epoch_and_time_left_stay(width: int) -> None:
    screen = io.StringIO()
    bar = Bar(Console(file=screen, force_terminal=True, width=width), "base training")
    train(tiny_net(), tiny_data(), protocol(epochs=3), session=Session(device="cpu", progress=False, listeners=(bar,)))
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue()).replace("\r", "\n").splitlines()
    last = [line for line in lines if "9/9" in line][-1]
    assert len(last) <= width
    assert "epoch 3/3" in last
    assert re.search(r"loss \d\.\d{3} ", last)
    assert last.rstrip().endswith("0:00:00")


def test_notes_are_shown_as_they_are() -> None:
    screen = io.StringIO()
    Lines(Console(file=screen, width=20), "base").note("[red]not a color[/red] and longer than the line")
    assert screen.getvalue() == "[red]not a color[/red] and longer than the line\n"


class Notebook:
    """Stands for one of Accelerate's trackers."""

    name = "tensorboard"
    requires_logging_directory = True
    main_process_only = True
    said: ClassVar[list[Any]] = []

    def __init__(self, run_name: str, logging_dir: str, **kwargs: Any) -> None:
        self.said.append(("run", run_name, str(logging_dir)))

    def start(self) -> None:
        pass

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.said.append(("settings", values["learning_rate"]))

    def log(self, values: dict[str, float], step: int, **kwargs: Any) -> None:
        self.said.append((step, values))

    def finish(self) -> None:
        self.said.append("end")


def test_trackers_are_told_each_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate import tracking
    from accelerate.utils import LoggerType

    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "tensorboard", Notebook)
    monkeypatch.setattr(tracking, "get_available_trackers", lambda: [LoggerType.TENSORBOARD])
    session = Session(tmp_path, device="cpu", progress=False, title="base net", trackers=("tensorboard",))
    result = train(tiny_net(), tiny_data(), protocol(), session=session)
    run, settings, first, second, end = Notebook.said
    assert run == ("run", "base-net", str(tmp_path))
    assert settings == ("settings", 0.05)
    assert [first[0], second[0]] == [3, 6]
    assert second[1]["loss"] == result.history[-1].loss
    assert result.history[-1].validation is not None
    assert second[1]["validation/top1"] == result.history[-1].validation.top1
    assert end == "end"


def test_trackers_that_cannot_be_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate import tracking

    def refused(name: str, kind: type[Exception], message: str) -> None:
        with pytest.raises(kind, match=message):
            train(tiny_net(), tiny_data(), protocol(), session=Session(device="cpu", trackers=(name,)))

    refused("tensorbord", UnknownNameError, "tracker: 'tensorbord' is not known; did you mean tensorboard")
    monkeypatch.setattr(tracking, "get_available_trackers", list)
    refused("wandb", ConfigError, "tracker wandb: it is not installed; pip install wandb")
    monkeypatch.setattr(tracking, "get_available_trackers", lambda: ["tensorboard"])
    refused("tensorboard", ConfigError, "tracker tensorboard: it writes files; give a folder to train in")


@pytest.mark.slow
def test_tensorboard_has_each_epoch(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    session = Session(tmp_path, device="cpu", progress=False, title="base net", trackers=("tensorboard",))
    result = train(tiny_net(), tiny_data(), protocol(), session=session)
    events = EventAccumulator(str(tmp_path / "base-net"))
    events.Reload()
    assert {"loss", "top1", "learning_rate", "images_per_second", "validation/top1"} <= set(events.Tags()["scalars"])
    told = [(row.step, row.value) for row in events.Scalars("loss")]
    assert told == [(row.step, pytest.approx(row.loss)) for row in result.history]
