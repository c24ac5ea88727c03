"""`train_only`: one training into a folder, by one process or by many that a launcher started."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path

from reconv.calibration import Calibration
from reconv.data import SplitName
from reconv.errors import ConfigError
from reconv.files import tensors_fingerprint, write_json
from reconv.quality import Quality
from reconv.report.numbers import counted
from reconv.runlog import RunLog
from reconv.runs.config import RunConfig
from reconv.runs.inputs import Inputs, load_inputs
from reconv.runs.runner import RunOptions
from reconv.steps import BASE, Context, TrainConfig
from reconv.training import (
    Evaluation,
    Trained,
    connected,
    device_named,
    evaluate,
    first_process_first,
    is_first_process,
    load_protocol,
    wait_for_all,
)


def train_only(
    config: RunConfig, folder: Path | str, title: str, options: RunOptions | None = None
) -> tuple[Trained, Evaluation]:
    """Train the given network as `config.base` says; the result is the folder's `model/`.

    Under `torchrun` or `accelerate launch` every process calls this alike; the first one writes.

    Args:
        config: its network, images, base training, seed and device matter; nothing is pruned. A teacher "base" is that
            of the run whose folder the model is.
        folder, options: as for `run`.
        title: what the training is called.

    Returns:
        The training, and the last epoch's figures on the test images, which are looked at once, at the end.

    Raises:
        ReconvError: as for `run`.
    """
    options, training = options or RunOptions(), config.base
    training = _with_teacher(training, config.model, options.log)
    settings = config.to_mapping() | {"compression": {"seed": config.seed}}
    store = options.open(folder, config, settings)
    training.check(config.data_set)
    store.check()
    with connected(config.device):
        with first_process_first():
            given = load_inputs(config, options.log)
        model, data = given.network.to(device_named(config.device)), given.data
        if data is None:
            raise ConfigError(f"{config.task}: no loaders to train on; define train_loader")
        store.knows_weights(tensors_fingerprint(model.state_dict()))
        wait_for_all()
        if is_first_process():
            store.begin()
        wait_for_all()
        calibration = Calibration(data.input_size, None, data)
        quality = Quality(data, metric=given.metric)
        context = Context(model, data, calibration, quality, given.loss, config.seed, options.log, store)
        model = training.train(model, context, title)
        trained = Trained(model, store.history.get(title, ()))
        with options.log.stage("test") as stage:
            tested = _tested(trained, given)
            name = "" if tested.metric_name else "top-1 "
            stage.note = f"{counted(tested.n, 'image')}, once: {name}{tested.quality_text}"
        if is_first_process():
            store.save("model", trained.model)
            store.finish(title)
            history = [record.to_json() for record in trained.history]
            write_json(store.metrics, {"history": history, "test": asdict(tested)})
        wait_for_all()
    return trained, tested


def _tested(trained: Trained, given: Inputs) -> Evaluation:
    """Figures on the test images; without labels, the last epoch's agreement with the teacher on images held out."""
    data, last = given.data, trained.history[-1].validation if trained.history else None
    assert data is not None  # see train_only
    if not data.labelled:
        return last or Evaluation(math.nan, math.nan, math.nan, 0)
    split: SplitName = "test" if len(data.test) else "validation"
    return evaluate(trained.model, data, split, metric=given.metric, loss=given.loss)


def _with_teacher(training: TrainConfig, model: str, log: RunLog) -> TrainConfig:
    """The training with the network before pruning as its teacher, by its folder in the run, where that is wanted.

    Raises:
        ConfigError: no labels are learned, and there is no teacher.
    """
    protocol = load_protocol(training.protocol, "", training.overrides)
    if training.teacher_for(protocol) != BASE:
        return training
    found = next((folder / BASE for folder in (Path(model), Path(model).parent) if (folder / BASE).is_dir()), None)
    if found is not None or training.teacher == BASE:
        return replace(training, teacher=str(found or Path(model) / BASE))
    if not training.labels:
        raise ConfigError(f"labels: {model} has no network before pruning beside it; give --teacher, a saved network")
    log.note(f"{model} has no network before pruning beside it: {protocol.name} goes on without a teacher.")
    return replace(training, changes={**training.changes, "base_teaches": False})
