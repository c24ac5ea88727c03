"""Trained networks of the package: what is said about them is true, and they are used where they fit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from reconv.errors import ArtifactError, ConfigError
from reconv.files import write_tensors
from reconv.networks import SHIPPED, shipped_net
from reconv.runlog import RunLog
from reconv.runs import RunConfig, is_trained, load_inputs
from reconv.zoo import TrainedNet, find_trained, load_model, trained, trained_nets, write_trained, write_weights


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrainedNet]:
    """A package with one trained network, for digits, in it."""
    folder = tmp_path / "trained"
    folder.mkdir()
    torch.manual_seed(0)
    write_weights(load_model("resnet20", in_channels=1), tmp_path / "w.safetensors")
    net = TrainedNet(
        "resnet20", "digits", folder / "resnet20-digits.safetensors", 0.5, "fast, 1 epoch", "reconv train", 3.0, "here"
    )
    assert write_trained(net, tmp_path / "w.safetensors") < 1e-3
    monkeypatch.setattr(trained, "FOLDER", folder)
    yield net
    trained_nets.cache_clear()


def test_written_and_found_again_in_any_spelling(shelf: TrainedNet) -> None:
    assert trained_nets(trained.FOLDER) == (shelf,)
    assert find_trained("ResNet-20", "Digits") == shelf
    assert find_trained("resnet32", "digits") is None
    assert find_trained("resnet20", "cifar10") is None
    assert find_trained("a/folder", "digits") is None


def test_half_precision_in_the_file_single_in_the_network(shelf: TrainedNet, tmp_path: Path) -> None:
    assert shelf.weights.stat().st_size < 0.55 * (tmp_path / "w.safetensors").stat().st_size
    model = load_model("resnet20", weights=shelf.weights)
    original = load_model("resnet20", weights=tmp_path / "w.safetensors")
    for (name, rounded), exact in zip(model.state_dict().items(), original.state_dict().values(), strict=True):
        assert rounded.dtype == exact.dtype, name
        torch.testing.assert_close(rounded, exact, rtol=1e-3, atol=1e-6)


def test_a_run_starts_from_it_and_says_so(shelf: TrainedNet) -> None:
    config = RunConfig(weights=SHIPPED)
    assert is_trained(config)
    log = RunLog()
    model = load_inputs(config, log, images=False).network
    expected = load_model("resnet20", weights=shelf.weights).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    assert "starts from resnet20, trained by reconv on digits (fast, 1 epoch), test accuracy 50.00%" in log.notes[0]
    assert "--weights none" in log.notes[0]


def test_where_there_is_none_it_says_so(shelf: TrainedNet) -> None:
    with pytest.raises(ConfigError, match="resnet32: no trained network for digits comes with reconv; give --weights"):
        shipped_net("resnet32", "digits")


def test_what_half_precision_cannot_hold_is_refused(shelf: TrainedNet, tmp_path: Path) -> None:
    write_tensors(tmp_path / "large.safetensors", {"weight": torch.tensor([1e6])})
    with pytest.raises(ArtifactError, match="weight has values that half precision cannot hold"):
        write_trained(shelf, tmp_path / "large.safetensors")


def test_those_of_the_package_fit_their_names_and_are_small() -> None:
    nets = trained_nets()
    for net in nets:
        load_model(net.model, weights=net.weights)
        assert net.weights.name == f"{net.model}-{net.data_set}.safetensors"
        assert 0.5 < net.accuracy < 1
        assert net.command.startswith("reconv train --model ")
    assert sum(net.weights.stat().st_size for net in nets) <= 5_000_000


@pytest.mark.real_data
@pytest.mark.slow
def test_those_of_the_package_are_as_good_as_they_say(data_root: Path) -> None:
    from reconv.data import load_data
    from reconv.training import evaluate

    for net in trained_nets():
        found = evaluate(load_model(net.model, weights=net.weights), load_data(net.data_set, data_root))
        assert found.top1 == pytest.approx(net.accuracy, abs=3e-4)
