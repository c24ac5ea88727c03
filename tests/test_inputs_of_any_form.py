"""Networks whose inputs or outputs are no single tensor: evaluated, trained, compared with the original, pruned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import reconv
from reconv.data import as_data_set
from reconv.errors import DataError
from reconv.pipeline import usable_steps
from reconv.quality import quality_for
from reconv.runlog import RunLog
from reconv.training import Protocol, evaluate, train
from reconv.training.divergence import measure_divergence


class TwoInputs(nn.Module):
    """An image and a number; keywords, positional arguments or a list of both, and outputs of a form to choose."""

    def __init__(self, outputs: str = "dict", listed: bool = False) -> None:
        super().__init__()
        self.conv, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)
        self.head = nn.Linear(9, 4)
        self.outputs, self.listed = outputs, listed

    def forward(self, image: Any, number: Tensor | None = None) -> Any:
        if self.listed:
            image = torch.stack(image)
        number = image.flatten(1)[:, :1] if number is None else number
        features = self.second(self.conv(image).relu()).relu().mean((2, 3))
        logits = self.head(torch.cat([features, number], 1))
        if self.outputs == "dict":
            return {"logits": logits, "features": features}
        return Out(logits, [features]) if self.outputs == "dataclass" else logits


@dataclass
class Out:
    logits: Tensor
    features: list[Tensor]


class Items(Dataset[Any]):
    """Items in one of several forms."""

    def __init__(self, form: str, labelled: bool = True) -> None:
        self.form, self.labelled = form, labelled

    def __len__(self) -> int:
        return 24

    def __getitem__(self, index: int) -> Any:
        generator = torch.Generator().manual_seed(index)
        image, number = torch.randn(3, 8, 8, generator=generator), torch.randn(1, generator=generator)
        label = {"labels": torch.tensor(index % 4)}
        if self.form == "mapping":
            return {"image": image, "number": number} | (label if self.labelled else {})
        inputs = (image, number) if self.form == "tuple" else image
        return (inputs, label["labels"])


def _collate_list(items: list[Any]) -> Any:
    return [image for image, _ in items], torch.stack([label for _, label in items])


def _collate_tuple(items: list[Any]) -> Any:
    inputs, labels = zip(*items)
    return tuple(map(torch.stack, zip(*inputs))), torch.stack(labels)


def _loader(form: str, labelled: bool = True) -> DataLoader[Any]:
    collate = {"list": _collate_list, "tuple": _collate_tuple}.get(form)
    return DataLoader(Items(form, labelled), 6, collate_fn=collate)


@pytest.mark.parametrize("form", ["mapping", "tuple", "list"])
@pytest.mark.parametrize("outputs", ["dict", "dataclass", "tensor"])
def test_evaluated_trained_and_pruned(form: str, outputs: str) -> None:
    model = TwoInputs(outputs, listed=form == "list").eval()
    data = as_data_set(_loader(form))
    assert data.labelled
    figures = evaluate(model, data, "train")
    assert figures.n == len(data.train)
    assert 0 <= figures.top1 <= 1
    trained = train(model, data, Protocol(epochs=1, learning_rate=0.1, batch_size=6)).model
    assert not torch.equal(trained.head.weight, model.head.weight)
    after = (reconv.Finetune("short", epochs=1),)
    how = reconv.Compression("l1", budget=reconv.Budget(macs=0.6), after=after)
    result = reconv.compress(model, data, how)
    assert result.plan.macs[1] <= 0.6 * result.plan.macs[0]
    assert result.figures.qualities[0] is not None


@pytest.mark.parametrize("outputs", ["dict", "dataclass"])
def test_without_labels_each_output_is_compared_with_the_originals(outputs: str) -> None:
    model = TwoInputs(outputs).eval()
    data = as_data_set(_loader("mapping", labelled=False))
    assert not data.labelled
    quality = quality_for(model, data, None, None)
    assert quality.name == "divergence"
    same = measure_divergence(model, model, data, "train")
    assert (same.mean, same.identical) == (0, 1)
    assert set(same.outputs) == {"logits", "features" if outputs == "dict" else "features.0"}
    other = TwoInputs(outputs).eval()
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        other.head.weight.mul_(1.1)
        other.head.bias.mul_(1.1)
    scaled = measure_divergence(model, other, data, "train")
    assert scaled.outputs["logits"] == pytest.approx(0.1, rel=1e-4)
    assert min(scaled.outputs.values()) == 0
    assert "logits 0.1" in str(scaled)


def test_a_metric_gets_the_outputs_as_they_are() -> None:
    kinds = []

    def metric(outputs: Any, targets: Tensor) -> float:
        kinds.append(type(outputs))
        return float(outputs["features"].mean())

    figures = evaluate(TwoInputs().eval(), as_data_set(_loader("mapping"), only="test"), metric=metric)
    assert set(kinds) == {dict}
    assert figures.metric_name == "metric"


def test_steps_that_look_at_images_take_any_inputs() -> None:
    data = as_data_set(_loader("mapping"))
    after = (reconv.Repair(images=8),)
    result = reconv.compress(TwoInputs().eval(), data, reconv.Compression(after=after, scheme="allocated"))
    assert any("solved anew on 8 training images" in row.note for row in result.log.rows)
    log = RunLog()
    assert [type(step) for step in usable_steps(reconv.Compression(), data, log)] == [reconv.Repair, reconv.Finetune]
    assert not log.notes
    with pytest.raises(DataError, match="without a tensor"):
        as_data_set([({"name": "x"}, 1)])


def test_calibration_images_of_their_own() -> None:
    from reconv.data import calibration_images

    images, labels = torch.rand(20, 3, 8, 8), torch.arange(20) % 2
    data = as_data_set({"train": (images, labels), "calibration": torch.full((6, 3, 8, 8), 7.0)})
    assert torch.equal(calibration_images(data, 4), torch.full((4, 3, 8, 8), 7.0))
    assert len(calibration_images(as_data_set({"calibration": images}), 5)) == 5
