"""What is asked is resolved before anything is written, known however it was spelled, and answered or explained."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from made import stored, study_of

import reconv
from reconv.cli.app import main
from reconv.errors import ConfigError, ReconvError
from reconv.steps import Finetune, Reinitialize
from reconv.study import Arm, Grid, Network, Store, Study, read_study, run_study, study_facts
from reconv.study.runner import identify

_COMMAND = ["study", "--model", "resnet20", "--data-set", "digits", "-b", "macs=0.5", "--arm", "pruned-only"]


def _study(network: Network, **changes: Any) -> Study:
    settings: dict[str, Any] = {"criteria": ("l1",), "budgets": ("macs=0.5",), "arms": ("pruned only",)} | changes
    return Study("t", (network,), (Grid((network.name,), **settings),))


def test_what_cannot_be_resolved_leaves_no_trace(network: Network, tmp_path: Path) -> None:
    bad = replace(
        _study(network), arms=(Arm("mine", (Finetune("nosuch"),)),), grids=_study(network, arms=("recalibrated",)).grids
    )
    bad = replace(bad, grids=(replace(bad.grids[0], arms=("mine",)),))
    store = stored(study_of("l1"), tmp_path / "old")
    before = store.study
    for folder in (store.path, tmp_path / "new"):
        with pytest.raises(ReconvError, match="nosuch"):
            run_study(bad, folder)
    assert store.study == before
    assert not (tmp_path / "new").exists()


def test_a_network_for_other_classes_is_refused_first(tmp_path: Path) -> None:
    reconv.save(reconv.load_model("resnet20", in_channels=1, num_classes=100), tmp_path / "hundred")
    with pytest.raises(ReconvError, match="10 classes"):
        run_study(_study(Network("net", str(tmp_path / "hundred"), data_set="digits")), tmp_path / "s")
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("budget", ["macs=0.0001", "cfg9"])
def test_a_study_without_one_result_is_an_error_that_says_why(
    budget: str, network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*_COMMAND, "--weights", str(network.weights), "-c", "l1", "-c", "l2", "-b", budget]
    assert main([*arguments, "-o", str(tmp_path / "some")]) == 0  # those of the other budget are there
    arguments.remove("macs=0.5")
    arguments.remove("-b")
    assert main([*arguments, "-o", str(tmp_path / "s")]) == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error"))
    assert "none can be computed of 2 cells" in line
    assert budget.removeprefix("cfg") in line
    why = Store(tmp_path / "s").read("failed.json")
    assert len(why) == 2
    for folder in ("some", "s"):
        assert next(iter(why.values())) in " ".join(study_facts(Store(tmp_path / folder))[0].missing)


def _from_file(folder: Path, line: str, model: str = "resnet20") -> Network:
    text = f"""
        [networks.net]
        model = "{model}"
        data_set = "cifar10"
        {line}
        [[grids]]
        criteria = ["l1"]
        budgets = ["macs=0.5"]
    """
    file = folder / "study.toml"
    file.write_text(text, encoding="utf-8")
    return read_study(file).networks[0]


def test_a_file_says_weights_as_the_command_line_does(tmp_path: Path) -> None:
    assert _from_file(tmp_path, 'weights = "w.pth"').weights == str(tmp_path / "w.pth")
    assert _from_file(tmp_path, 'weights = "pretrained"').weights == "pretrained"
    assert _from_file(tmp_path, 'weights = "none"').weights is None
    shipped = _from_file(tmp_path, "").weights
    assert shipped is not None
    assert Path(shipped).is_file()
    with pytest.raises(ConfigError, match=r'no trained network for cifar10 comes with reconv.*"none"'):
        _from_file(tmp_path, "", "resnet56")


def test_what_a_product_leaves_out_is_told(tmp_path: Path) -> None:
    mixed = study_of("l1", "torch-pruning:l1", schemes=("uniform", "global"))
    (text,) = mixed.left_out()
    assert "torch-pruning:l1: 1 combination left out, such as macs=0.5 global, pruned only: the peer" in text
    assert text in study_facts(stored(mixed, tmp_path / "s"))[0].missing
    assert study_of("l1", "torch-pruning:l1").left_out() == []


def test_a_study_of_which_all_is_left_out_is_refused(network: Network, tmp_path: Path) -> None:
    with pytest.raises(ReconvError, match="the peer takes"):
        run_study(_study(network, criteria=("torch-pruning:l1",), schemes=("global",)), tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_the_spelling_of_a_data_set_is_no_setting(network: Network) -> None:
    keys = {
        tuple(cell.key for cell in _study(replace(network, data_set=name)).cells()) for name in ("digits", "Dig-its")
    }
    assert len(keys) == 1
    assert Network("n", "resnet20", data_set="CIFAR-10").data_set == "cifar10"
    assert Network("n", "resnet20", data_set="/my/CIFAR10").data_set == "/my/CIFAR10"


def test_where_a_saved_model_lies_is_no_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = reconv.load_model("resnet20", in_channels=1)
    reconv.save(model, tmp_path / "base")
    shutil.copytree(tmp_path / "base", tmp_path / "elsewhere" / "other")
    monkeypatch.chdir(tmp_path)
    folders = ("base", str(tmp_path / "base"), str(tmp_path / "elsewhere" / "other"))
    identified = [identify(_study(Network("n", folder, data_set="digits"))) for folder in folders]
    assert len({study.cells()[1].key for study in identified}) == 1
    assert str(tmp_path) not in str(identified[1].to_json())
    reconv.save(reconv.load_model("resnet20", in_channels=1, shortcut="stride"), tmp_path / "stride")
    other = identify(_study(Network("n", "stride", data_set="digits")))
    assert other.networks[0].architecture != identified[0].networks[0].architecture


def test_a_report_made_again_keeps_the_command(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, pack = tmp_path / "s", tmp_path / "pack"
    arguments = [*_COMMAND, "--weights", str(network.weights), "-c", "l1", "-o", str(folder)]

    def call(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["reconv", *arguments])
        assert main(arguments) == 0

    call(*arguments, "--pack", str(pack))
    for again in (["report", str(folder)], ["study", "--tables", "-o", str(folder)], ["report", str(pack)]):
        call(*again)
        assert "reconv study --model resnet20 --data-set digits -b macs=0.5 --arm pruned-only" in (
            ((pack if str(pack) in again else folder) / "report.html").read_text()
        )


def test_the_same_command_twice_computes_once(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for messages in ("0 cells cached, 2 computed", "2 cells cached, 0 computed"):
        assert main([*_COMMAND, "--weights", str(network.weights), "-c", "l1"]) == 0
        assert messages in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["study-resnet20"]


@pytest.mark.slow
def test_random_weights_of_a_saved_model_are_not_those_that_were_saved(tmp_path: Path) -> None:
    arm = Arm("control", (Reinitialize(), Finetune("digits-short", epochs=1)))
    model = reconv.load_model("resnet20", in_channels=1, shortcut="stride")
    reconv.save(model, tmp_path / "base")
    graph = reconv.trace(model, torch.zeros(1, 1, 8, 8))
    small = reconv.prune(model, reconv.choose(graph, reconv.score(graph, "l1"), reconv.Budget(macs=0.5)))
    reconv.save(small, tmp_path / "small")

    def failures(model: str) -> str:
        network = Network("n", str(tmp_path / model), data_set="digits")
        study = Study("t", (network,), (Grid(("n",), ("l1",), ("macs=0.8",), arms=("control",)),), (arm,))
        return " ".join(why for _, why in run_study(study, tmp_path / f"s-{model}").failed)

    assert failures("base") == ""
    assert "pruned before" in failures("small")
