"""A run is a function of its configuration: the same to the bit, interrupted or not."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from reconv.artifacts import load, save
from reconv.compression import Compression
from reconv.data import load_data
from reconv.data.splits import TensorSplit
from reconv.errors import ArtifactError, ConfigError, ReconvError
from reconv.files import tensors_fingerprint, write_json
from reconv.folders import mark_as_ours
from reconv.graph import trace
from reconv.machine import processor
from reconv.networks import example_of, load_network
from reconv.plan import Budget, Limits, choose
from reconv.report import Row
from reconv.results.facts import layers_of
from reconv.results.fingerprints import images_fingerprint
from reconv.runlog import RunLog
from reconv.runs import RunConfig, RunOptions, run, train_only
from reconv.runs.folder import RunFolder
from reconv.saliency import Direction, score
from reconv.steps import Finetune, Recalibrate, Repair, Step, TrainConfig
from reconv.training import Session, evaluate
from reconv.zoo import load_model

QUICK = RunConfig(base=TrainConfig("default", 2), compression=Compression("l1", after=(Finetune(epochs=2),)))


def with_steps(config: RunConfig, *after: Step, base_epochs: int = 1, **changes: Any) -> RunConfig:
    """The same with other steps after pruning, and other options of the compression."""
    how = replace(config.compression, after=after, **changes)
    return replace(config, base=TrainConfig("default", base_epochs), compression=how)


def unmeasured(**options: Any) -> RunOptions:
    """Options of a run that neither tests nor times."""
    return RunOptions(measure=False, **options)


class StopAt(RunLog):
    """Interrupts when a stage has ended, as Ctrl-C would between two."""

    def __init__(self, stage: str) -> None:
        super().__init__()
        self.stop = stage

    def end(self, row: Row | None) -> None:
        if row is not None and row.stage == self.stop:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(QUICK, tmp_path_factory.mktemp("whole"), unmeasured()).folder


def fingerprint(folder: Path) -> str:
    return tensors_fingerprint(load(folder / "model").state_dict())


@pytest.mark.parametrize("stage", ["base training", "choose and prune", "fine-tuning"])
@pytest.mark.slow
def test_interrupted_and_resumed_is_as_uninterrupted(stage: str, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(QUICK, folder, unmeasured(log=StopAt(stage)))
    assert not (folder / "metrics.json").exists()
    assert not list(folder.rglob("*.part"))
    run(QUICK, folder, unmeasured(resume=True))
    assert fingerprint(folder) == fingerprint(whole)
    told = [json.loads((place / "metrics.json").read_text())["layers"] for place in (folder, whole)]
    assert told[0] == told[1]


def test_what_the_caller_has_stays_as_it_is(tmp_path: Path) -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    run(with_steps(QUICK, base_epochs=0), tmp_path / "a", unmeasured())
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("budget", [Budget(macs=0.001), Budget(latency=0.01)])
def test_a_budget_that_cannot_be_met_is_found_before_training(budget: Budget, tmp_path: Path) -> None:
    config = with_steps(QUICK, base_epochs=10_000, budget=budget)
    with pytest.raises(ReconvError, match="have to stay"):
        run(config, tmp_path / "a", unmeasured())
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    "config",
    [
        RunConfig(),
        QUICK,
        RunConfig(
            compression=Compression(recipe=2, verify=False),
            weights="w",
            arguments={"shortcut": "stride"},
            data_root="/d",
        ),
        RunConfig(
            compression=Compression(
                "l1",
                "backward",
                budget=Budget(macs=0.5, size=9e6),
                limits=Limits(2, 8, {"layer4.*": 0.25}),
                after=(Repair(), Finetune("short", 1, changes={"schedule": "cosine"}, teacher="base")),
            )
        ),
    ],
)
def test_a_folder_holds_the_configuration_of_its_run(config: RunConfig, tmp_path: Path) -> None:
    store = RunFolder(tmp_path / "run", config.to_mapping())
    store.begin()
    assert store.config() == config


@pytest.mark.parametrize(
    "change",
    [
        {"compression": {"rounds": 0}},
        {"compression": {"direction": "up"}},
        {"compression": {"seed": "one"}},
        {"epochs": 3},
    ],
)
def test_a_configuration_that_no_run_writes_is_named(change: dict[str, Any], tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", RunConfig().to_mapping() | change)
    with pytest.raises(ArtifactError, match=r"config\.json"):
        RunFolder(tmp_path).config()


def test_a_run_is_not_resumed_with_other_weights(tmp_path: Path) -> None:
    settings = RunConfig(weights="W.safetensors").to_mapping()
    first = RunFolder(tmp_path / "run", settings)
    first.knows_weights("abc")
    first.begin()
    again = RunFolder(tmp_path / "run", settings, resume=True)
    again.check()
    again.knows_weights("abc")
    with pytest.raises(ConfigError, match="begun with other weights"):
        again.knows_weights("def")
    assert RunFolder(tmp_path / "run").config() == RunConfig(weights="W.safetensors")


@pytest.mark.parametrize("name", ["base", "rounds/1"])
def test_a_training_goes_on_only_from_the_network_that_it_began_with(name: str, tmp_path: Path) -> None:
    """Whose weights are those that the run itself has made, and someone else has replaced since."""
    torch.manual_seed(0)
    networks = [load_model("resnet20", in_channels=1, widths=(2, 2, 2)) for _ in range(2)]
    path, settings = tmp_path / "run", RunConfig().to_mapping()

    def session_of(network: nn.Module) -> Session:
        first = RunFolder(path, settings, resume=True)
        first.save(name, network)
        again = RunFolder(path, settings, resume=True)
        assert again.load(name, network) is not None
        assert again.session("fine-tuning", False) == first.session("fine-tuning", False)
        return again.session("fine-tuning", False)

    assert session_of(networks[0]).starts_from == tensors_fingerprint(networks[0].state_dict())
    assert session_of(networks[0]) != session_of(networks[1])


def test_a_damaged_result_of_a_run_can_be_made_again(tmp_path: Path) -> None:
    network = load_model("resnet20", in_channels=1, widths=(2, 2, 2))
    settings = RunConfig().to_mapping()
    RunFolder(tmp_path, settings).save("base", network)
    (tmp_path / "base" / "weights.safetensors").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"Or delete \S*base and resume: it is made again"):
        RunFolder(tmp_path, settings, resume=True).load("base", network)


def test_a_run_killed_before_its_configuration_begins_anew(tmp_path: Path) -> None:
    mark_as_ours(tmp_path)
    (tmp_path / ".config.json.0123abcd.part").touch()
    folder = RunFolder(tmp_path, RunConfig().to_mapping(), resume=True)
    folder.check()
    folder.begin()
    assert folder.is_begun


def test_an_overwritten_run_is_there_until_the_new_one_has_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    RunFolder(tmp_path / "run", RunConfig().to_mapping()).begin()
    (tmp_path / "run" / "report.html").write_text("hours of work")
    monkeypatch.setattr("reconv.folders.put_in_place", lambda new, path: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(ArtifactError):
        RunFolder(tmp_path / "run", RunConfig().to_mapping(), overwrite=True).begin()
    assert (tmp_path / "run" / "report.html").read_text() == "hours of work"
    assert RunFolder(tmp_path / "run").is_begun


def test_a_run_is_finished_only_with_its_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    config = with_steps(replace(QUICK, arguments={"widths": (4, 4, 4)}), base_epochs=1)
    monkeypatch.setattr("reconv.runs.runner.write_atomically", stop)
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "run", unmeasured())
    assert not (tmp_path / "run" / "metrics.json").exists()
    monkeypatch.undo()
    run(config, tmp_path / "run", unmeasured(resume=True))
    assert (tmp_path / "run" / "report.html").is_file()


def test_a_training_alone_is_not_resumed_with_other_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    start = tmp_path / "start"
    config = RunConfig(model=str(start), base=TrainConfig("default", 1))
    save(load_model("resnet20", in_channels=1, widths=(2, 2, 2)), start)
    with pytest.raises(KeyboardInterrupt):
        train_only(config, tmp_path / "run", "training", RunOptions(log=StopAt("training")))
    save(load_model("resnet20", in_channels=1, widths=(2, 2, 2)), start, overwrite=True)
    with pytest.raises(ConfigError, match="begun with other weights than these"):
        train_only(config, tmp_path / "run", "training", RunOptions(resume=True))


def test_a_training_without_labels_needs_the_network_before_pruning(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save(load_model("resnet20", in_channels=1, widths=(2, 2, 2)), tmp_path / "run" / "model")
    training = TrainConfig("after-repair", 1, labels=False)
    config = RunConfig(model=str(tmp_path / "run" / "model"), base=training)
    with pytest.raises(ConfigError, match="no network before pruning beside it; give --teacher"):
        train_only(config, tmp_path / "trained", "fine-tuning")
    save(load_model("resnet20", in_channels=1, widths=(2, 2, 2)), tmp_path / "run" / "base")
    trained, tested = train_only(config, tmp_path / "trained", "fine-tuning")
    assert trained.history[-1].validation is not None
    assert trained.history[-1].validation.metric_name == "agreement"
    assert 0 <= tested.top1 <= 1


FIRST_FORM = {
    "model": "resnet20",
    "weights": None,
    "arguments": {},
    "data_set": "digits",
    "data_root": None,
    "cut": {
        "criterion": "nuclear",
        "direction": "forward",
        "exact": False,
        "scores": None,
        "budget": {"macs": 0.5, "params": None, "channels": None, "size": None, "memory": None, "latency": None},
        "recipe": None,
        "scheme": "uniform",
        "coupled": True,
        "keep_lowest": True,
        "limits": {"minimum": 1, "multiple": 1, "most": {"conv1": 0.0}},
        "normalization": "mean",
    },
    "base": {"protocol": "default", "epochs": 2, "batch_size": None, "changes": {}, "teacher": None},
    "finetune": {"protocol": "short", "epochs": 1, "batch_size": 64, "changes": {}, "teacher": "base"},
    "rounds": 2,
    "between": {"protocol": "default-between", "epochs": None, "batch_size": None, "changes": {}, "teacher": None},
    "verify": None,
    "recalibrate": 0,
    "repair": True,
    "calibration": None,
    "images": 300,
    "seed": 3,
    "device": "cpu",
}


def test_a_configuration_of_version_0_1_is_read(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", FIRST_FORM)
    assert RunFolder(tmp_path).config() == RunConfig(
        base=TrainConfig("default", 2),
        compression=Compression(
            budget=Budget(macs=0.5),
            coupled=True,
            reverse=True,
            limits=Limits(most={"conv1": 0.0}),
            rounds=2,
            images=300,
            after=(Repair(), Finetune("short", 1, 64, teacher="base")),
            seed=3,
        ),
        device="cpu",
    )
    write_json(tmp_path / "config.json", FIRST_FORM | {"calibration": "weights"})
    with pytest.raises(ArtifactError, match="no repair by weights alone any more; give leaves"):
        RunFolder(tmp_path).config()


def test_a_run_tells_what_computed_and_counts_in_english(tmp_path: Path) -> None:
    config = replace(with_steps(QUICK, Finetune("short", 1)), device="cpu")
    facts = run(config, tmp_path / "run", unmeasured()).facts
    assert re.fullmatch(re.escape(processor()) + r", \d+ threads?", facts.device)
    assert facts.settings["fine-tuning"] == "protocol short, 1 epoch"
    assert not re.search(r"\b1 \w+s\b", " ".join(row.note for row in facts.stages))


@pytest.mark.slow
def test_the_weights_that_are_told_are_those_that_are_kept(tmp_path: Path) -> None:
    config = with_steps(QUICK, Finetune("short", 1))
    result = run(config, tmp_path / "run", unmeasured())
    for name, folder in (("before", "base"), ("after", "model")):
        kept = load(tmp_path / "run" / folder).state_dict()
        assert result.facts.hashes[f"weights {name}"] == tensors_fingerprint(kept)
    assert len(set(result.facts.hashes.values())) == 4
    assert result.facts.hashes["images and labels"] == images_fingerprint(load_data("digits"))[1]
    assert result.facts.validation_images == len(load_data("digits").validation)


def test_other_images_have_another_fingerprint() -> None:
    data = load_data("digits")
    what, seen = images_fingerprint(data)
    assert what == "images and labels"
    assert images_fingerprint(load_data("digits"))[1] == seen
    split = data.train
    assert isinstance(split, TensorSplit)
    for other in (TensorSplit(split.images ^ 1, split.labels), TensorSplit(split.images, split.labels.flip(0))):
        assert images_fingerprint(replace(data, train=other))[1] != seen


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_scores_are_told_by_which_tied_layers_were_cut(direction: Direction) -> None:
    graph = trace(load_model("resnet20", in_channels=1), torch.zeros(1, 1, 8, 8))
    scores = score(graph, "l1", direction=direction)
    plan = choose(graph, scores, Budget(macs=0.5), coupled=True)
    told = {layer.name: layer for layer in layers_of(graph, scores, plan)}
    cut = [layer for layer in told.values() if not layer.is_unpruned]
    assert any(layer.tied for layer in cut)
    assert any(not layer.tied for layer in cut)
    for layer in cut:
        # The same share of every layer: what goes is what has the lowest scores, and nothing is given back.
        assert layer.lowest_kept >= layer.highest_removed, layer.name
        for other in layer.tied:
            assert layer.name in told[other].tied
            assert told[other].before != layer.before or told[other].kept == layer.kept


@pytest.mark.parametrize("name", ["digits"])
def test_shapes_known_by_name_are_the_data_sets_own(name: str) -> None:
    example, classes = example_of(name)
    data = load_data(name)
    assert tuple(example.shape[1:]) == data.input_size
    assert classes == data.num_classes


@pytest.mark.slow
def test_the_first_command_reaches_its_accuracy(tmp_path: Path) -> None:
    """The promise of the first README command, without its latency measurements: 97 % with half the MACs."""
    facts = run(RunConfig(), tmp_path / "run", unmeasured()).facts
    assert facts.after.macs <= 0.5 * facts.before.macs
    last = next(row for row in facts.stages if row.stage == "fine-tuning")
    assert last.accuracy is not None
    assert last.accuracy >= 0.97


@pytest.mark.real_data
@pytest.mark.slow
def test_resnet56_on_cifar10(data_root: Path, weights_root: Path, tmp_path: Path) -> None:
    config = RunConfig(
        model="resnet56",
        weights=str(weights_root / "cifar10-resnet56.safetensors"),
        data_set="CIFAR10",
        data_root=str(data_root),
        compression=Compression(recipe=1, after=(Recalibrate(2000),)),
    )
    facts = run(config, tmp_path / "run").facts
    assert facts.before.accuracy == pytest.approx(0.9339, abs=2e-4)
    assert facts.before.macs - facts.after.macs == pytest.approx(0.311 * facts.before.macs, rel=1e-2)
    assert facts.after.accuracy is not None
    assert facts.after.accuracy > 0.8


@pytest.mark.slow
def test_a_repaired_network_answers_more_like_the_original(tmp_path: Path) -> None:
    data = load_data("digits")
    right = {}
    for repair in (False, True):
        config = with_steps(QUICK, *[Repair(300)] * repair, base_epochs=4)
        result = run(config, tmp_path / str(repair), unmeasured())
        right[repair] = evaluate(result.model, data, "validation").top1
    assert right[True] > right[False] + 0.2


def test_a_network_given_its_number_of_classes_keeps_it() -> None:
    model = load_network("resnet20", arguments={"num_classes": 7}, classes=10)
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 7)
