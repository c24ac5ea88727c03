"""The command line as a user calls it, in a folder of its own, without a new process."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cli_call import Answer, Call
from safetensors.torch import save_file

from reconv.cli.app import main
from reconv.zoo import load_model


@pytest.fixture
def reconv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls the command line in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RECONV_DATA", raising=False)
    monkeypatch.setattr("reconv.results.measure.LATENCY_SECONDS", 0.05)

    def call(*words: str | Path) -> Answer:
        capsys.readouterr()
        code = main([str(word) for word in words])
        return Answer(code, *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a ResNet-20 for digits, random but with BatchNorm scales that differ."""
    torch.manual_seed(0)
    model = load_model("resnet20", in_channels=1)
    path = tmp_path_factory.mktemp("weights") / "digits-resnet20.safetensors"
    save_file(model.state_dict(), path)
    return path
