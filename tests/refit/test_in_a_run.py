"""Repair, image criteria and allocated widths as a run uses them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from reconv.artifacts import save
from reconv.calibration import calibration_for
from reconv.compression import Compression
from reconv.data import TensorSplit, load_data
from reconv.data.unlabelled import fitted, unlabelled_images
from reconv.errors import ConfigError, DataError
from reconv.graph import ChannelGraph, trace
from reconv.pipeline import compress
from reconv.plan import Budget
from reconv.provenance import Normalization
from reconv.runs import RunConfig, RunOptions, run
from reconv.steps import Repair
from reconv.zoo import load_model

DIGITS = load_data("digits")
COLORED = Normalization((0.5,) * 3, (0.25,) * 3)
REPAIRED = Compression("reconstruction", scheme="allocated", images=200, verify=False, after=(Repair(),))


@pytest.fixture(scope="module")
def graph() -> ChannelGraph:
    torch.manual_seed(0)
    model = load_model("resnet20", num_classes=10, in_channels=1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return trace(model.eval(), DIGITS.example())


@pytest.mark.slow
def test_no_label_is_read(graph: ChannelGraph) -> None:
    split = DIGITS.train
    shuffled = split.labels[torch.randperm(len(split), generator=torch.Generator().manual_seed(1))]
    other = replace(DIGITS, train=TensorSplit(split.images, shuffled))  # type: ignore[attr-defined]
    results = [compress(graph.model, data, REPAIRED) for data in (DIGITS, other)]
    first, second = (result.model.state_dict() for result in results)
    assert results[0].plan.macs[1] <= 0.5 * results[0].plan.macs[0]
    assert not torch.equal(split.labels, shuffled)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("criterion", ["nuclear", "activation", "reconstruction"])
def test_any_criterion_can_be_allocated(graph: ChannelGraph, criterion: str) -> None:
    plan = compress(graph.model, DIGITS, replace(REPAIRED, criterion=criterion, after=())).plan
    assert (plan.criterion, plan.scheme) == (criterion, "allocated")
    assert 0.45 * plan.macs[0] < plan.macs[1] <= 0.5 * plan.macs[0]
    shares = {len(row.kept) / row.size for row in plan.groups if not row.why}
    assert len(shares) > 2


@pytest.mark.slow
def test_a_layer_that_the_images_cannot_judge_is_named(graph: ChannelGraph) -> None:
    for images, named in ((50, True), (200, False)):
        how = Compression("reconstruction", scheme="allocated", images=images, verify=False, after=())
        notes = compress(graph.model, DIGITS, how).log.notes
        assert any("fc: more inputs than" in note for note in notes) == named


@pytest.mark.parametrize("name", ["params", "channels"])
@pytest.mark.slow
def test_widths_meet_other_budgets(graph: ChannelGraph, name: str) -> None:
    plan = compress(graph.model, DIGITS, replace(REPAIRED, budget=Budget(**{name: 0.6}), after=())).plan
    assert plan.params[1] < 0.7 * plan.params[0]


@pytest.mark.slow
def test_a_saved_network_is_repaired_without_a_data_set(graph: ChannelGraph, tmp_path: Path) -> None:
    save(load_model("resnet20", num_classes=10, normalization=COLORED), tmp_path / "net")
    how = Compression("l2", budget=Budget(macs=0.6), images=64, verify=False, after=(Repair(),))
    config = RunConfig(model=str(tmp_path / "net"), data_set="cifar10", data_root=str(tmp_path))
    folder = tmp_path / "photographs" / "some" / "where"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 255, (20, 40, 50, 3), dtype=np.uint8)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{i}.png")
    for source in ("leaves", str(tmp_path / "photographs"), "digits"):
        config = replace(config, compression=replace(how, calibration=source))
        result = run(config, tmp_path / Path(source).name / "run", RunOptions(measure=False))
        assert any(row.stage == "repair" and source in row.note for row in result.facts.stages)


def test_images_of_another_shape_are_scaled_and_cut() -> None:
    exact = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    assert torch.equal(fitted(exact, (3, 8, 8)), exact)
    wide = torch.zeros(1, 1, 10, 30, dtype=torch.uint8)
    wide[..., 10:20] = 200
    assert bool((fitted(wide, (3, 5, 5)) >= 150).all())
    assert fitted(wide, (3, 20, 24)).shape == (1, 3, 20, 24)


def test_what_cannot_serve_for_calibration_is_refused(graph: ChannelGraph, tmp_path: Path) -> None:
    kind = {"normalization": Normalization((0.5,), (0.5,)), "size": (1, 8, 8)}
    with pytest.raises(DataError, match="no image"):
        unlabelled_images(str(tmp_path), 10, **kind)
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"a\.png.*cannot be read"):
        unlabelled_images(str(tmp_path), 10, **kind)
    with pytest.raises(ConfigError, match="nothing looks at images"):
        replace(REPAIRED, criterion="l2", scheme="uniform", calibration="leaves", after=())
    with pytest.raises(ConfigError, match=r"no repair by weights alone any more; give leaves"):
        replace(REPAIRED, calibration="weights")
    with pytest.raises(ConfigError, match="normalized"):
        calibration_for(graph, None, "leaves", 10, 0).images()
