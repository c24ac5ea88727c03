"""A user's own small network for digits, as files in the working directory."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn


def write_my_net() -> None:
    """`my_net.py` with a factory `make`, and `w.pth` with its random weights."""
    torch.manual_seed(0)
    small = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.Flatten(), nn.Linear(96, 10))
    Path("my_net.py").write_text(
        "from torch import nn\n\n\ndef make():\n    return nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), "
        "nn.Conv2d(6, 6, 3), nn.Flatten(), nn.Linear(96, 10))\n"
    )
    torch.save(small.state_dict(), "w.pth")
