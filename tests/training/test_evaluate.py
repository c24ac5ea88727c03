"""Evaluation counts what can be counted by hand, and leaves the model as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import assert_same_weights, tiny_data, tiny_net
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from reconv.data import DataSet, TensorSplit, load_data, normalize
from reconv.errors import ConfigError, DataError, ReconvError
from reconv.provenance import Normalization, Provenance, attach
from reconv.training import Evaluation, Metric, evaluate, recalibrate


class Pixels(nn.Module):
    """The first row's pixels, as they come, are the scores."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0, 0]


def seven_classes(normalization: Normalization) -> DataSet:
    """Ten images of seven pixels a row, whose scores and labels are chosen by hand."""
    rows = torch.tensor([[70, 60, 50, 40, 30, 20, 10]] * 10, dtype=torch.uint8)
    labels = torch.tensor([0, 0, 0, 0, 1, 2, 4, 5, 6, 6])
    split = TensorSplit(rows.view(10, 1, 1, 7), labels)
    return DataSet("rows", tuple("abcdefg"), (1, 1, 7), normalization, split, split, split)


def test_figures_are_those_counted_by_hand() -> None:
    data = seven_classes(Normalization((0.0,), (1 / 255,)))
    figures = evaluate(Pixels(), data, batch_size=3)
    assert (figures.top1, figures.top5, figures.n) == (0.4, 0.7, 10)
    scores = torch.tensor([[70.0, 60, 50, 40, 30, 20, 10]] * 10)
    expected = nn.functional.cross_entropy(scores, data.test.labels)
    assert figures.loss == pytest.approx(float(expected))
    assert str(figures) == f"top-1 40.00%, top-5 70.00%, loss {expected:.4f}, 10 images"


def test_the_models_own_normalization_counts() -> None:
    plain = Normalization((0.0,), (1.0,))
    model = attach(Pixels(), Provenance(normalization=Normalization((0.0,), (1 / 255,))))
    assert evaluate(model, seven_classes(plain)).loss > 10 * evaluate(Pixels(), seven_classes(plain)).loss


def test_the_model_and_the_global_state_stay() -> None:
    model, data = tiny_net().train(), tiny_data()
    model.bn1.eval()
    before, modes = tiny_net(), [module.training for module in model.modules()]
    threads, generator = torch.get_num_threads(), torch.random.get_rng_state()
    first = evaluate(model, data)
    assert first == evaluate(model, data, batch_size=7) or first.top1 == evaluate(model, data, batch_size=7).top1
    assert [module.training for module in model.modules()] == modes
    assert_same_weights(model, before)
    assert torch.get_num_threads() == threads
    assert torch.equal(generator, torch.random.get_rng_state())
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (tiny_net(channels=3), r"rows: the model does not take its 1x6x6 images \(.*channels"),
        (tiny_net(classes=10), r"rows: it has 3 classes, but the model gives \(10,\) per image; .*num_classes=3"),
        (nn.Identity(), r"rows: it has 3 classes, but the model gives \(1, 6, 6\) per image"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(model: nn.Module, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        evaluate(model, tiny_data())


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(DataError, match="the validation split has no images"):
        evaluate(tiny_net(), tiny_data(validation=0), "validation")


def images(n: int = 40) -> Tensor:
    return torch.randn(n, 1, 6, 6, generator=torch.Generator().manual_seed(0)) * 3 + 1


def test_recalibrated_statistics_are_those_of_the_images() -> None:
    model = tiny_net(dropout=0.9)
    model(torch.randn(8, 1, 6, 6) - 5)  # statistics of something else
    model.eval()
    fresh = recalibrate(model, images(), batch_size=40)
    seen = model.conv1(images())
    assert isinstance(fresh, type(model))
    torch.testing.assert_close(fresh.bn1.running_mean, seen.mean((0, 2, 3)))
    torch.testing.assert_close(fresh.bn1.running_var, seen.var((0, 2, 3)))
    normalized = fresh.bn1(seen)
    torch.testing.assert_close(normalized.mean((0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)
    second = model.conv2(torch.relu(nn.functional.batch_norm(seen, None, None, None, None, True)))
    torch.testing.assert_close(fresh.bn2.running_mean, second.mean((0, 2, 3)))


def test_recalibration_averages_over_batches() -> None:
    model = tiny_net()
    fresh = recalibrate(model, images(), batch_size=15)
    parts = [model.conv1(part) for part in images().tensor_split(3)]
    mean = torch.stack([part.mean((0, 2, 3)) for part in parts]).mean(0)
    variance = torch.stack([part.var((0, 2, 3)) for part in parts]).mean(0)
    assert isinstance(fresh, type(model))
    torch.testing.assert_close(fresh.bn1.running_mean, mean)
    torch.testing.assert_close(fresh.bn1.running_var, variance)


def test_recalibration_touches_nothing_else() -> None:
    model = tiny_net().train()
    model.bn2.eval()
    fresh = recalibrate(model, images())
    assert_same_weights(model, tiny_net())
    changed = {name for name, value in fresh.state_dict().items() if not torch.equal(value, model.state_dict()[name])}
    assert changed == {f"bn{number}.running_{what}" for number in (1, 2) for what in ("mean", "var")}
    assert [module.training for module in fresh.modules()] == [module.training for module in model.modules()]
    assert isinstance(fresh, type(model))
    assert fresh.bn1.momentum == 0.1


@pytest.mark.parametrize("bad", [images(1), images()[0], torch.full((4, 1, 6, 6), torch.nan)])
def test_images_that_give_no_statistics_are_refused(bad: Tensor) -> None:
    with pytest.raises(ConfigError, match=r"recalibrate: .* images; give at least two"):
        recalibrate(tiny_net(), bad)


@pytest.mark.real_data
@pytest.mark.slow
def test_published_weights_give_their_published_accuracy(data_root: Path, weights_root: Path) -> None:
    from reconv.zoo import load_model

    model = load_model("resnet20", weights=weights_root / "cifar10-resnet20.safetensors")
    assert evaluate(model, load_data("cifar10", data_root)).top1 == pytest.approx(0.9173, abs=2e-4)


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().mean()


def loader_of(data: DataSet, batch: int = 4) -> DataLoader[Any]:
    """A loader of the test images as its owner prepares them."""
    images = normalize(data.test.images, data.normalization)  # type: ignore[attr-defined]
    return DataLoader(TensorDataset(images, data.test.labels), batch_size=batch)


def test_a_loader_of_prepared_images_gives_the_same_figures_as_the_data_set() -> None:
    data, model = tiny_data(), tiny_net()
    assert evaluate(model, loader_of(data), batch_size=7) == evaluate(model, data, batch_size=7)
    # Neither the data set's normalization nor the model's is applied to what comes prepared.
    attach(model, Provenance(normalization=Normalization((0.0,), (9.0,))))
    assert evaluate(model, loader_of(data)) == evaluate(tiny_net(), loader_of(data))


def test_a_metric_is_the_mean_over_images_whatever_the_batches() -> None:
    data, model = tiny_data(), tiny_net()
    right = Metric(lambda scores, labels: (scores.argmax(1) == labels).double().mean(), "right")
    for size in (4, 7, 30):
        figures = evaluate(model, data, metric=right, batch_size=size)
        assert figures.metric == pytest.approx(figures.top1)
        assert figures.quality == figures.metric
    assert str(figures).startswith(f"right {figures.metric:.4g}, top-1 ")


def test_a_metric_of_the_whole_split_sees_it_once() -> None:
    data, calls = tiny_data(), []

    def spread(outputs: Tensor, targets: Tensor) -> float:
        calls.append(len(outputs))
        return float(outputs.std())

    figures = evaluate(tiny_net(), data, metric=Metric(spread, whole=True), batch_size=7)
    assert calls == [30]
    assert figures.metric_name == "spread"
    outputs = tiny_net().eval()(normalize(data.test.images, data.normalization))  # type: ignore[attr-defined]
    assert figures.metric == pytest.approx(float(outputs.detach().std()))


def test_other_tasks_than_classification_take_a_metric_and_a_loss() -> None:
    images, targets = torch.rand(10, 3, 4, 4), torch.rand(10, 3, 4, 4)
    data = TensorDataset(images, targets)
    figures = evaluate(nn.Identity(), data, metric=squared_error, loss=squared_error, batch_size=3)
    assert figures.metric == pytest.approx(float(squared_error(images, targets)))
    assert figures.loss == pytest.approx(figures.metric)
    assert str(figures) == f"squared_error {figures.metric:.4g}, loss {figures.loss:.4f}, 10 images"
    assert Evaluation.from_json(figures.to_json()).metric == figures.metric
    with pytest.raises(ConfigError, match=r"outputs \(10, 3, 4, 4\) and targets \(10, 3, 4, 4\); .* give metric="):
        evaluate(nn.Identity(), data)


def test_signals_that_are_no_images_are_evaluated_too() -> None:
    model = nn.Sequential(nn.Conv1d(2, 3, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    assert evaluate(model, (torch.randn(8, 2, 9), torch.arange(8) % 3)).n == 8


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        ("resnet20", tiny_data(), r"evaluate: model is 'resnet20'.*; pass"),
        (tiny_net(), 0.5, r"data: float; give a DataSet, a torch DataLoader"),
        (tiny_net(), torch.zeros(4, 1, 6, 6), r"images without labels; give a DataLoader or Dataset"),
        (tiny_net(), (torch.zeros(4, 1, 6, 6), torch.tensor([0, 1, 2, 3])), r"a label 3, but .* scores of 3 classes"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_in_one_line(model: Any, data: Any, message: str) -> None:
    with pytest.raises(ReconvError, match=message):
        evaluate(model, data)


def test_a_metric_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"metric: 'top1'; give a function of \(outputs, targets\)"):
        evaluate(tiny_net(), tiny_data(), metric="top1")  # type: ignore[arg-type]
