"""A network for digits with random weights, and a small study of it."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from reconv.study import Grid, Network, Study
from reconv.zoo import load_model


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_file(load_model("resnet20", in_channels=1).state_dict(), path)
    return Network("net", "resnet20", str(path), {"shortcut": "stride"}, "digits")


@pytest.fixture
def study(network: Network) -> Study:
    grid = Grid(
        ("net",), ("l1", "random"), ("macs=0.5",), ("uniform",), ("pruned only", "recalibrated"), random_seeds=2
    )
    return Study("small", (network,), (grid,))
