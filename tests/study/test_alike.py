"""What is alike is computed once and shown each time; what is not alike is never taken for the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from made import NETWORK, record, stored, study_of
from PIL import Image

from reconv.errors import ConfigError
from reconv.report import render_study
from reconv.steps import Recalibrate
from reconv.study import Arm, Grid, Network, Study, run_study, study_facts
from reconv.study.arms import arm_named
from reconv.study.context import NetworkContext, _context
from reconv.study.measures import NETWORKS, latency_key
from reconv.study.review import arms_of, missing_of
from reconv.study.tables import summarize, tidy


def _pictures(root: Path, shade: int) -> Path:
    """A folder of images, two classes, whose files have the same names and sizes whatever their shade."""
    for part in ("train", "val"):
        for label in ("a", "b"):
            folder = root / part / label
            folder.mkdir(parents=True)
            for number in range(4):
                Image.new("RGB", (8, 8), (shade, 40 * number, 0)).save(folder / f"{number}.bmp")
    return root


def _identified(data_set: Path) -> Network:
    _context.cache_clear()
    network = Network("net", "resnet20", None, {"num_classes": 2}, str(data_set))
    return NetworkContext(network).fingerprinted


@pytest.mark.slow
def test_a_folder_of_other_pictures_is_another_data_set(tmp_path: Path) -> None:
    one, other = (_identified(_pictures(tmp_path / folder / "set", shade)) for folder, shade in (("a", 0), ("b", 200)))
    again = _identified(_pictures(tmp_path / "c" / "set", 0))
    assert one.images == other.images
    assert one.labels == again.labels != other.labels
    assert latency_key(one, [1, 2], "cpu") == latency_key(again, [1, 2], "cpu") != latency_key(other, [1, 2], "cpu")


def test_other_names_of_the_same_are_computed_once_and_shown_each(tmp_path: Path, network: Network) -> None:
    twin = replace(network, name="twin")
    arms = (Arm("mine", (Recalibrate(),)),)
    grid = Grid(("net", "twin"), ("l1",), ("macs=0.5",), arms=("recalibrated", "mine"))
    study = Study("t", (network, twin), (grid,), arms)
    done = run_study(study, tmp_path / "s")
    assert done.computed == 2  # the whole network, and the cut one
    facts, summary, records = study_facts(done.store)
    assert {(line.setting.network, line.setting.arm) for line in summary.lines} == {
        (name, arm) for name in ("net", "twin") for arm in ("recalibrated", "mine")
    }
    assert len(tidy(records)) == len(done.store.requested.cells()) == 6
    assert facts.missing == ()
    assert [section.title for section in facts.sections] == ["net", "twin"]


def test_what_is_missing_is_missing_under_each_name() -> None:
    study = replace(study_of("l1"), arms=(Arm("mine", (Recalibrate(),)),))
    study = replace(
        study, grids=(*study_of("l1", arms=("recalibrated",)).grids, replace(study.grids[0], arms=("mine",)))
    )
    missing = missing_of(study.cells(), [], {})
    assert [text.split(":")[0] for text in missing] == ["net, unpruned", "net, recalibrated", "net, mine"]


@pytest.mark.parametrize(("one", "other"), [("1.5 x", "15 x"), ("lr 0.1", "lr 01"), ("a+b", "a b")])
def test_arms_of_different_names_are_different_arms(one: str, other: str) -> None:
    own = {name: Arm(name, (Recalibrate(),), images) for name, images in ((one, 50), (other, 500))}
    assert (arm_named(one, own).images, arm_named(other, own).images) == (50, 500)


def test_arms_that_a_command_line_cannot_tell_apart_are_refused() -> None:
    with pytest.raises(ConfigError, match="'my arm' and 'my-arm' differ in punctuation only"):
        replace(study_of("l1"), arms=(Arm("my arm"), Arm("my-arm")))
    assert arm_named("papers-protocol").name == "paper's protocol"
    assert arm_named("repaired-short_fine-tune").name == "repaired, short fine-tune"


def test_images_that_are_told_are_those_that_there_were() -> None:
    study = study_of("l1", arms=("recalibrated",))
    rows = [record(cell, 0.5) for cell in study.cells()]
    assert "BatchNorm statistics of 1,000 training" in arms_of(study, rows, summarize(rows, "l1"))["recalibrated"]
    for row in rows:
        row["outcome"]["images_for_mending"] = 90
    assert "BatchNorm statistics of 90 training images" in arms_of(study, rows, summarize(rows, "l1"))["recalibrated"]
    assert [row["calibration_images"] for row in tidy(rows) if row["criterion"]] == [90]


def test_no_more_images_are_counted_than_there_are(tmp_path: Path, network: Network) -> None:
    arm = Arm("mine", (Recalibrate(),), 10_000_000)
    study = Study("t", (network,), (Grid(("net",), ("l1",), ("macs=0.5",), arms=("mine",)),), (arm,))
    done = run_study(study, tmp_path / "s")
    number = next(row["calibration_images"] for row in tidy(study_facts(done.store)[2]) if row["criterion"])
    assert 2 <= number < 1797  # digits has no more


def test_a_peer_is_left_out_of_budgets_that_it_does_not_know() -> None:
    study = study_of("l1", "torch-pruning:l1", budgets=("macs=0.5", "params=0.5", "macs=1000000", "cfg1"))
    budgets = {cell.budget for cell in study.cells() if cell.criterion.startswith("torch-pruning")}
    assert budgets == {"macs=0.5"}
    assert any("torch-pruning:l1: 3 combinations left out" in text for text in study.left_out())


def test_kept_widths_are_pictured_whatever_the_scheme(tmp_path: Path) -> None:
    from reconv.files import write_json

    entry = {"layers": ["a", "b", "fc"], "cut": ["a"], "streams": ["b"], "criteria": [], "tau": []}
    for number, (changes, titles) in enumerate(
        (
            ({}, [("−50 % MACs, uniform", ("a",))]),
            ({"budgets": ("cfg1", "macs=0.5")}, [("cfg1, uniform", ("a",))]),
            (
                {"schemes": ("uniform", "global", "allocated"), "coupled": True},
                [
                    ("−50 % MACs, allocated, residual streams too", ("a", "b")),
                    ("−50 % MACs, global, residual streams too", ("a", "b")),
                ],
            ),
        )
    ):
        store = stored(study_of("l1", "l2", **changes), tmp_path / str(number))
        write_json(store.path / NETWORKS, {NETWORK.fingerprint: entry})
        facts = study_facts(store)[0]
        assert [(picture.title, picture.layers) for picture in facts.sections[0].widths] == titles
        assert "Kept channels" in render_study(facts)
