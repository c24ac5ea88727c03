"""`run`: every verb in order, each result kept in the run's folder."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from reconv.artifacts import save_saliency
from reconv.data import DataSet
from reconv.errors import ConfigError
from reconv.files import tensors_fingerprint, write_atomically, write_json
from reconv.graph import ChannelGraph, trace
from reconv.pipeline import stages
from reconv.pipeline.account import Measured, account
from reconv.pipeline.config import RunConfig
from reconv.pipeline.examine import examine
from reconv.pipeline.folder import RunFolder
from reconv.pipeline.inputs import example_of, given_network, is_trained, load_images, teacher_of
from reconv.pipeline.looking import calibration, needs_data_set
from reconv.pipeline.rounds import first_cut, stage_of, work_off
from reconv.pipeline.stages import CutNetwork
from reconv.pipeline.watch import Diary, Watcher
from reconv.plan import ALLOCATED, Plan
from reconv.report import RunFacts, render
from reconv.report.numbers import percent
from reconv.saliency import Saliency, criterion_named, score
from reconv.training import check_trackers, device_named, load_protocol
from reconv.training.threads import few_threads

BASE, FINETUNE = "base training", "fine-tuning"


@dataclass(frozen=True, eq=False)
class RunResult:
    """What a run gives.

    Args:
        base, model: the network before and after.
        saliency, plan: the scores, and what was removed by them.
        facts: every figure, as the report shows them; `facts.before` and `facts.after` have the main ones.
        folder: where all of it lies.
    """

    base: nn.Module
    model: nn.Module
    saliency: Saliency
    plan: Plan
    facts: RunFacts
    folder: Path


@dataclass(frozen=True)
class Manner:
    """How a run is done, which does not change its result.

    Args:
        overwrite: replace a folder that an earlier run made.
        resume: go on with an interrupted run of the same configuration, or begin if there is none.
        measure: test and time both networks at the end.
        watcher: is told what happens.
        command: how to do it again, for the report.
        trackers: Accelerate's trackers that trainings tell, by name.
    """

    overwrite: bool = False
    resume: bool = False
    measure: bool = True
    watcher: Watcher = field(default_factory=Watcher)
    command: str = ""
    trackers: tuple[str, ...] = ()


def run(config: RunConfig, folder: Path | str, manner: Manner = Manner()) -> RunResult:
    """From a network, trained or not, to a smaller one, with everything that was found out on the way.

    Args:
        config: what decides the result.
        folder: to write into; it is made only when images, network and budget are known to fit together.
        manner: what does not change the result.

    Returns:
        The result; on a CPU the same to the bit, but for times, whether interrupted and resumed or not.

    Raises:
        ReconvError: anything that does not fit, before anything is written where possible.
    """
    if manner.resume and config.cut.budget is not None and config.cut.budget.latency is not None:
        raise ConfigError(
            "resume: a budget of latency is measured anew each time and may give other widths; use --overwrite instead"
        )
    diary = Diary(manner.watcher)
    place = RunFolder(Path(folder), config.device, manner.watcher.progress, manner.trackers)
    check_trackers(manner.trackers, place.path)
    for schooling in (config.base, config.between, config.finetune):
        teacher_of(schooling, config, nn.Identity())  # that it is there, before any work
    place.check(config.to_json(), overwrite=manner.overwrite, resume=manner.resume)
    device = device_named(config.device)
    data = load_images(config) if _needs_images(config, manner) else None
    with few_threads(_pixels(data), device):
        return _run(config, manner, data, device, place, diary)


def _run(
    config: RunConfig, manner: Manner, data: DataSet | None, device: torch.device, place: RunFolder, diary: Diary
) -> RunResult:
    graph = _graph_of_given_network(config, data, device, diary)
    if config.calibration is not None:
        calibration(config, graph, data)  # that there are such images, before any work
    if is_trained(config):
        if config.rounds > 1:
            _check_feasible(graph, config)
        cut = first_cut(graph, config, data, diary)
        place.begin(config.to_json(), overwrite=manner.overwrite, resume=manner.resume)
    else:
        _check_feasible(graph, config)
        place.begin(config.to_json(), overwrite=manner.overwrite, resume=manner.resume)
        assert data is not None  # a training needs images
        graph = trace(_base_network(graph.model, data, config, place, diary), graph.inputs)
        cut = first_cut(graph, config, data, diary)
    base = graph.model
    bytes_before = place.save_model("base", base)
    rounds = work_off(graph, cut, config, data, place, diary)
    cut = rounds.whole
    save_saliency(cut.saliency, place.scores)
    write_json(place.plan, cut.plan.to_json())
    small = _taught(base, rounds.last, data, config, place, diary)
    bytes_after = place.save_model("model", small, cut.plan)
    place.forget_checkpoints(FINETUNE)

    fingerprints = tensors_fingerprint(base.state_dict()), tensors_fingerprint(small.state_dict())
    measured = Measured((bytes_before, bytes_after), fingerprints)
    if manner.measure and data is not None:
        measured = examine(measured, graph, small, data, device, diary)
    trainings = (BASE, *map(stage_of, range(1, config.rounds)), FINETUNE)
    histories = {name: place.history(name) for name in trainings}
    facts = account(config, graph, cut, measured, diary, histories, manner.command, data)
    if rounds.facts and data is not None:
        after = stages.validation_accuracy(small, data)
        facts = replace(facts, rounds=(*rounds.facts[:-1], replace(rounds.facts[-1], after=after)))
    write_json(place.metrics, facts.to_json())
    write_atomically(place.report, render(facts))
    return RunResult(base, small, cut.saliency, cut.plan, facts, place.path)


def _pixels(data: DataSet | None) -> int:
    """In a batch of the larger size; images whose size is unknown count as large."""
    return 1 << 30 if data is None else max(stages.BATCHES) * data.input_size[1] * data.input_size[2]


def _needs_images(config: RunConfig, manner: Manner) -> bool:
    trains = not is_trained(config) or config.finetune.epochs != 0 or config.rounds > 1
    return manner.measure or trains or config.recalibrate > 0 or needs_data_set(config)


def _graph_of_given_network(
    config: RunConfig, data: DataSet | None, device: torch.device, diary: Diary
) -> ChannelGraph:
    example = example_of(config.data_set)[0] if data is None else data.example()
    model = given_network(config, data, diary)
    if data is not None:
        for schooling in (config.base, config.between, config.finetune):
            load_protocol(schooling.protocol, data.name, schooling.overrides)
    return trace(model.to(device), example.to(device))


def _check_feasible(graph: ChannelGraph, config: RunConfig) -> None:
    """Find out before a training whether the cut can be made after it; widths do not depend on scores."""
    shared = "uniform" if config.cut.scheme == ALLOCATED else config.cut.scheme
    budget = config.cut.budget and config.cut.budget.countable()  # time is measured when the network is there
    if budget is not None or config.cut.recipe is not None:
        cut = replace(config.cut, scheme=shared, criterion="random", budget=budget)
        stages.choose_plan(graph, score(graph, "random"), cut)
    if is_trained(config):
        return
    if config.cut.scores is None:
        criterion_named(config.cut.criterion)
    else:
        raise ConfigError("scores: of a network that is yet to be trained; give --weights, or leave --scores out")


def _base_network(model: nn.Module, data: DataSet, config: RunConfig, place: RunFolder, diary: Diary) -> nn.Module:
    """The trained network: of an earlier try, or trained now."""
    found = place.model("base")
    if found is not None:
        return found.to(next(model.parameters()).device)
    trained = stages.school(model, data, config.base, BASE, config, place.session(BASE), diary).model
    place.save_model("base", trained)
    place.forget_checkpoints(BASE)
    return trained


def _taught(
    base: nn.Module, cut: CutNetwork, data: DataSet | None, config: RunConfig, place: RunFolder, diary: Diary
) -> nn.Module:
    """The cut network after recalibration or repair, and fine-tuning, each where asked for."""
    if data is None:
        return stages.mended(cut, data, config, diary)
    with diary.stage("validate") as stage:
        stage.accuracy = stages.validation_accuracy(cut.model, data)
        before = stages.validation_accuracy(base, data)
        stage.note = "as cut" if before is None else f"as cut; {percent(before)} before"
    small = stages.mended(cut, data, config, diary)
    return stages.school(small, data, config.finetune, FINETUNE, config, place.session(FINETUNE), diary, base).model
