"""`compress`: any module, any data, any metric; and one result, whoever calls it."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import reconv
from reconv import Compression, Finetune, Repair
from reconv.artifacts import load, save
from reconv.cache import Cache
from reconv.compression import AFTER
from reconv.data import load_data
from reconv.errors import ConfigError, ReconvError
from reconv.files import tensors_fingerprint
from reconv.runs import RunConfig, RunOptions, load_facts, run
from reconv.saliency import Criterion
from reconv.steps import Export, Reinitialize
from reconv.study.arms import Arm
from reconv.study.cell import Cell, Network
from reconv.study.compute import Training, finished_network
from reconv.study.context import context_for
from reconv.training import Metric
from reconv.zoo import load_model

HALF = Compression("l1", images=50, after=(Repair(),))
TRAINED = replace(HALF, after=(Repair(), Finetune("digits-short", epochs=1, batch_size=64)))


class Own(nn.Module):
    """A network of a class that no zoo knows."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 12, 3, padding=1), nn.Conv2d(12, 16, 3, stride=2)
        self.norm, self.head = nn.BatchNorm2d(12), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.norm(self.first(x)).relu()).relu()
        out: Tensor = self.head(x.mean((2, 3)))
        return out


@pytest.fixture
def own() -> Own:
    torch.manual_seed(0)
    return Own()


def _digits(number: int = 200) -> tuple[Tensor, Tensor]:
    images, labels = next(load_data("digits").train.stream([torch.arange(number)]))
    return images.float() / 8 - 1, labels


@pytest.mark.parametrize("kind", ["DataSet", "DataLoader", "Dataset", "tensors", "images", "mapping"])
def test_any_data_will_do(kind: str, own: Own) -> None:
    images, labels = _digits()
    pairs = TensorDataset(images, labels)
    data = {
        "DataSet": load_data("digits"),
        "DataLoader": DataLoader(pairs, 32),
        "Dataset": pairs,
        "tensors": (images, labels),
        "images": images,
        "mapping": {"train": pairs, "test": pairs},
    }[kind]
    result = reconv.compress(own, data, HALF)
    assert result.plan.macs[1] <= 0.5 * result.plan.macs[0]
    assert result.verified is not None
    assert result.verified < 1e-10
    measured = [row.stage for row in result.log.rows if row.accuracy is not None]
    assert measured == ["before pruning"] * (kind != "images") + ["validate", "repair"]
    assert result.quality.name == ("agreement" if kind == "images" else "top-1")


def test_the_model_of_the_caller_stays_as_it_is(own: Own) -> None:
    own.train()
    own.norm.eval()
    modes = {name: module.training for name, module in own.named_modules()}
    state, random = copy.deepcopy(own.state_dict()), torch.get_rng_state()
    result = reconv.compress(own, _digits(), TRAINED)
    assert result.base is own
    assert all(torch.equal(value, state[name]) for name, value in own.state_dict().items())
    assert {name: module.training for name, module in own.named_modules()} == modes
    assert torch.equal(torch.get_rng_state(), random)


def test_agreement_is_the_metric_without_labels(own: Own) -> None:
    images, _ = _digits()
    result = reconv.compress(own, images, HALF)
    assert result.quality.of(own) == 1.0
    assert len(result.data.train) + len(result.data.validation) == len(images)  # type: ignore[union-attr]
    with torch.no_grad():
        kept = result.quality.data.validation  # type: ignore[union-attr]
        same = result.model(kept.images).argmax(1) == own.eval()(kept.images).argmax(1)
    assert result.quality.of(result.model) == pytest.approx(same.double().mean().item())


def test_steps_by_default_are_what_the_data_allow(own: Own) -> None:
    images, _ = _digits()
    nothing = reconv.compress(own, example=images[:1])
    assert [note for note in nothing.log.notes if "left out" in note] == [
        "repair is left out: there are no images.",
        "finetune is left out: there are no labels.",
    ]
    repaired = reconv.compress(own, images, replace(HALF, after=AFTER))
    assert [row.stage for row in repaired.log.rows][-1] == "repair"
    with pytest.raises(ConfigError, match="finetune: it needs labels"):
        reconv.compress(own, images, TRAINED)
    with pytest.raises(ConfigError, match="repair: it needs images"):
        reconv.compress(own, None, HALF, example=images[:1])
    with pytest.raises(ConfigError, match="look at images"):
        reconv.compress(own, None, Compression(scheme="allocated", after=()), example=images[:1])
    with pytest.raises(ConfigError, match="neither data nor an example"):
        reconv.compress(own)
    with pytest.raises(ReconvError, match="model"):
        reconv.compress(3, images)  # type: ignore[arg-type]


def test_metric_and_loss_of_ones_own(own: Own, tmp_path: Path) -> None:
    images, _ = _digits()
    data = (images, images.mean((1, 2, 3), keepdim=False)[:, None].expand(-1, 10).contiguous())
    error = Metric(lambda outputs, targets: (outputs - targets).abs().mean(), "error", higher_is_better=False)
    losses: list[float] = []

    def squared(outputs: Tensor, targets: Tensor) -> Tensor:
        loss = (outputs - targets).square().mean()
        losses.append(float(loss.detach()))
        return loss

    result = reconv.compress(own, data, TRAINED, loss=squared, metric=error)
    assert losses
    assert "validation error" in result.log.rows[-1].note or "validation error" in result.log.rows[-2].note
    facts = result.report(tmp_path / "report.html")
    assert facts.tested is None
    assert facts.after.accuracy is None
    assert facts.after.metric == pytest.approx(result.quality.of(result.model, "test"))
    assert f"{facts.after.metric:.4g}" in (tmp_path / "report.html").read_text()


def test_a_criterion_of_ones_own_needs_no_name_but_its_own(own: Own) -> None:
    last = Criterion(
        "last first", "channels in order", of_layer=lambda layer: torch.arange(len(layer.filters)).double()
    )
    result = reconv.compress(own, None, Compression(last, after=()), example=_digits()[0][:1])
    kept = result.plan.groups[0].kept
    assert kept == tuple(range(12 - len(kept), 12))
    assert result.compression.to_mapping()["criterion"] == "last first"


@pytest.mark.parametrize("criterion", ["taylor", "obd_c"])
def test_criteria_that_look_at_gradients(criterion: str, own: Own) -> None:
    result = reconv.compress(own, _digits(), Compression(criterion, images=64, after=()))
    assert result.plan.criterion == criterion
    with pytest.raises(ConfigError, match="labels"):
        reconv.compress(own, _digits()[0], Compression(criterion, after=()))


@pytest.mark.slow
def test_random_weights_are_pruned_by_the_same_plan() -> None:
    how = replace(HALF, after=(Reinitialize(), Finetune("digits-short", epochs=1)))
    net = load_model("resnet20", in_channels=1, num_classes=10)
    first, second = (reconv.compress(net, "digits", replace(how, seed=seed)) for seed in (0, 1))
    shapes = [[tuple(value.shape) for value in one.model.state_dict().values()] for one in (first, second)]
    assert shapes[0] == shapes[1]
    assert not torch.equal(first.model.conv1.weight, second.model.conv1.weight)  # type: ignore[operator,arg-type]
    assert first.plan.to_json() == second.plan.to_json()


def test_a_network_is_exported_as_a_step(own: Own, tmp_path: Path) -> None:
    file = tmp_path / "net.pt2"
    result = reconv.compress(own, _digits(), replace(HALF, after=(Repair(), Export(str(file)))))
    exported = torch.export.load(file).module()
    images = _digits()[0][:2]
    assert torch.allclose(exported(images), result.model.eval()(images), atol=1e-5)


def test_a_result_is_saved_shown_and_reported(own: Own, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconv.results.measure.LATENCY_SECONDS", 0.05)
    result = reconv.compress(own, _digits(), HALF)
    result.save(tmp_path / "net")
    assert tensors_fingerprint(load(tmp_path / "net", model=own).state_dict()) == tensors_fingerprint(
        result.model.state_dict()
    )
    assert len(repr(result)) < 200
    facts = result.report(tmp_path / "report.html")
    assert facts.title == "Own on own data"
    assert facts.after.accuracy is not None
    assert "Own on own data" in (tmp_path / "report.html").read_text()


def test_own_objects_in_a_run(own: Own, tmp_path: Path) -> None:
    config, data = RunConfig(compression=TRAINED), TensorDataset(*_digits())
    in_folder = run(config, tmp_path / "run", RunOptions(measure=False), model=own, data=data)
    in_memory = reconv.compress(own, data, TRAINED)
    assert tensors_fingerprint(in_folder.model.state_dict()) == tensors_fingerprint(in_memory.model.state_dict())
    assert tensors_fingerprint(load(tmp_path / "run" / "model", model=own).state_dict()) == tensors_fingerprint(
        in_memory.model.state_dict()
    )
    assert load_facts(tmp_path / "run").settings == in_folder.facts.settings
    with pytest.raises(ConfigError, match=r"run\(model=...\)"):
        RunConfig(model=own)  # type: ignore[arg-type]


@pytest.mark.slow
def test_python_command_line_and_study_give_the_same_bits(tmp_path: Path) -> None:
    """One step of each kind, half the MACs, on digits."""
    name = str(tmp_path / "net")
    save(load_model("resnet20", in_channels=1, num_classes=10), name)
    how = replace(TRAINED, verify=False)
    result = reconv.compress(name, "digits", how)

    words = ["--criterion", "l1", "--images", "50", "--protocol", "digits-short", "--epochs", "1"]
    words += ["--batch-size", "64", "--no-verify", "--repair", "--budget", "macs=0.5", "--device", "cpu"]
    command = [sys.executable, "-m", "reconv", "prune", name, "--data-set", "digits", *words]
    subprocess.run([*command, "--save-path", str(tmp_path / "R")], check=True, capture_output=True)

    network = Network("digits", name, data_set="digits").with_weights()
    cell = Cell(network, "l1", "macs=0.5", "uniform", arm=Arm("arm", how.after, images=50))
    context = context_for(network, "cpu")
    small = finished_network(context, cell, Training(context.device))

    expected = tensors_fingerprint(result.model.state_dict())
    assert tensors_fingerprint(load(tmp_path / "R" / "model").state_dict()) == expected
    assert tensors_fingerprint(small.state_dict()) == expected
    plan = json.loads((tmp_path / "R" / "plan.json").read_text())
    assert plan == json.loads(json.dumps(result.plan.to_json()))


def test_a_cache_keeps_the_gradients_of_each_loss_apart(own: Own) -> None:
    taylor, data, shared = Compression("taylor", images=50, after=()), _digits(), Cache()

    def scores(loss: Any, cache: Cache) -> Tensor:
        return reconv.compress(own, data, taylor, loss=loss, cache=cache).scores.values["first"]

    for loss in (functional.cross_entropy, lambda outputs, _: outputs.square().mean()):
        assert torch.equal(scores(loss, shared), scores(loss, Cache()))
