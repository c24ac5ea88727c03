"""What the README tells to type can be typed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from safetensors.torch import save_file

from reconv.cli.app import build_app
from reconv.zoo import load_model

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def _commands() -> list[list[str]]:
    lines = [line for block in _blocks("bash") for line in block.splitlines()]
    parts = [part for line in lines for part in line.split("&&")]
    words = [shlex.split(part, comments=True) for part in parts]
    return [line[1:] for line in words if line and line[0].endswith("reconv")]


@pytest.mark.parametrize("words", _commands(), ids=" ".join)
def test_commands_are_understood(words: list[str]) -> None:
    group: Any = typer.main.get_command(build_app())
    group.commands[words[0]].make_context(words[0], words[1:])  # a UsageError if an option or value is wrong


def test_there_are_two_first_commands() -> None:
    for title in ("run", "test"):
        block = README.split(f"<!-- {title} command -->\n")[1]
        command = re.match(r"```bash\n(.+)\n```\n", block)
        assert command, title
        assert command[1].startswith("python3 -m venv .venv && .venv/bin/pip install ")


MY_NET = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class MyNet(nn.Sequential):
    def __init__(self):
        super().__init__(
            *(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
            *(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)),
        )


images = TensorDataset(torch.randn(200, 1, 8, 8), torch.arange(200) % 10)
train_loader = DataLoader(images, batch_size=50)
"""

BEFORE = """
import reconv
from my_net import MyNet, train_loader
model, images = MyNet(), next(iter(train_loader))[0]
"""


@pytest.mark.slow
def test_the_python_examples_run(tmp_path: Path) -> None:
    three_lines, by_name = _blocks("python")
    save_file(load_model("resnet56").state_dict(), tmp_path / "resnet56.safetensors")
    (tmp_path / "my_net.py").write_text(MY_NET)
    assert len(three_lines.splitlines()) == 3
    assert "MACs" in _run(f"{BEFORE}{three_lines}", tmp_path)
    assert (tmp_path / "small.pt2").is_file()
    assert "layer1.0.conv1: 16 -> 8" in _run(by_name, tmp_path)
    assert (tmp_path / "small").is_dir()


def _run(code: str, folder: Path) -> str:
    (folder / "example.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "example.py"], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
