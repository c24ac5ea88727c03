"""What people see: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console
from tiny import protocol, tiny_data, tiny_net

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


def test_notes_are_shown_as_they_are() -> None:
    screen = io.StringIO()
    Lines(Console(file=screen, width=20), "base").note("[red]not a color[/red] and longer than the line")
    assert screen.getvalue() == "[red]not a color[/red] and longer than the line\n"
