"""What is said of the machine: what computed, and not what else is there."""

from __future__ import annotations

import pytest
import torch

from reconv.machine import device_name, processor, versions


def test_a_device_is_told_by_what_computes_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: f"GPU {device.index if device else 0}")
    assert device_name(torch.device("cpu")) == processor() != ""
    assert device_name(torch.device("cuda:1")) == "GPU 1"
    assert versions()["accelerator"] == "GPU 0"
    assert versions()["torch"] == torch.__version__.split("+")[0]
