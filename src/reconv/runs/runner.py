"""`run`: a compression whose results are kept in a folder as they appear, with a report in the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from reconv.calibration import Calibration, calibration_for
from reconv.data import DataSet
from reconv.errors import ConfigError
from reconv.files import tensors_fingerprint, write_atomically, write_json
from reconv.graph import trace
from reconv.inputs import on_device
from reconv.networks import example_of, own_example
from reconv.pipeline import as_images, compress, pixels_per_batch, usable_steps
from reconv.plan import Plan
from reconv.quality import Quality
from reconv.report import RunFacts, render
from reconv.results.facts import Naming
from reconv.rounds import title_of
from reconv.runlog import RunLog
from reconv.runs.config import RunConfig
from reconv.runs.folder import RunFolder
from reconv.runs.inputs import as_the_network_takes_them, is_trained, load_images, load_inputs
from reconv.saliency import Saliency, criterion_named
from reconv.select import check_feasible
from reconv.steps import FINETUNING, Context
from reconv.threads import few_threads
from reconv.training import Metric, check_trackers, device_named
from reconv.training.evaluation import as_metric

BASE_TRAINING = "base training"


@dataclass(frozen=True, eq=False)
class RunResult:
    """What a run gives.

    Args:
        base, model: the network before and after.
        scores, plan: the scores, and what was removed by them.
        facts: every figure, as the report shows them; `facts.before` and `facts.after` have the main ones.
        folder: where all of it lies.
    """

    base: nn.Module
    model: nn.Module
    scores: Saliency
    plan: Plan
    facts: RunFacts
    folder: Path


@dataclass(frozen=True)
class RunOptions:
    """How a run is done, which does not change its result.

    Args:
        overwrite: replace a folder that an earlier run made.
        resume: go on with an interrupted run of the same configuration, or begin if there is none.
        measure: test and time both networks at the end.
        log: is told what happens.
        command: how to do it again, for the report.
        trackers: Accelerate's trackers that trainings tell, by name.
    """

    overwrite: bool = False
    resume: bool = False
    measure: bool = True
    log: RunLog = field(default_factory=RunLog)
    command: str = ""
    trackers: tuple[str, ...] = ()

    def open(self, folder: Path | str, config: RunConfig, settings: Mapping[str, Any]) -> RunFolder:
        """The folder of a run with these settings; it is not made yet.

        Raises:
            ConfigError: a tracker that there is not.
        """
        store = RunFolder(
            Path(folder),
            settings,
            overwrite=self.overwrite,
            resume=self.resume,
            device=config.device,
            trackers=self.trackers,
        )
        check_trackers(self.trackers, store.path)
        return store


def run(
    config: RunConfig,
    folder: Path | str,
    options: RunOptions | None = None,
    *,
    model: nn.Module | None = None,
    data: Any = None,
    example: Any = None,
    loss: Callable[[Any, Any], Tensor] | None = None,
    metric: Metric | Callable[[Any, Any], float | Tensor] | None = None,
) -> RunResult:
    """From a network, trained or not, to a smaller one, with everything that was measured on the way.

    Args:
        config: what decides the result.
        folder: to write into; it is made only when images, network and budget are known to fit together.
        options: what does not change the result.
        model, data: a trained network and images of your own, in place of the names in the configuration.
        example, loss, metric: as for `reconv.compress`.

    Returns:
        The result; on a CPU the same to the bit, but for times, whether interrupted and resumed or not.

    Raises:
        ReconvError: anything that does not fit, before anything is written where possible.
    """
    options, compression = options or RunOptions(), config.compression
    if options.resume and compression.has_latency_budget:
        raise ConfigError(
            "resume: a budget of latency is measured anew each time and may give other widths; use --overwrite instead"
        )
    naming = Naming(
        type(model).__name__ if model is not None else config.model,
        config.data_set if data is None else str(getattr(data, "name", type(data).__name__)),
        options.command,
    )
    settings = config.to_mapping() | {"model": naming.network, "data_set": naming.data_set}
    store = options.open(folder, config, settings)
    store.check()
    device = device_named(config.device)
    trained = model is not None or is_trained(config)
    images = None if data is None else as_images(data, example, compression.seed, held=compression.held_share)
    needed = images is None and _needs_images(config, trained, options.measure)
    if model is None:
        given = load_inputs(config, options.log, images=needed, held=compression.held_share)
        network, images = given.network.to(device), given.data if images is None else images
        example = given.example if example is None else example
        loss, metric = loss or given.loss, metric or given.metric
    else:
        network = model
        if needed:
            images = as_the_network_takes_them(load_images(config, compression.held_share), model, example)
    if example is None and images is None:
        example = own_example(network)
        example = example_of(config.data_set)[0] if example is None else example
    with few_threads(pixels_per_batch(images), device):
        if trained:
            store.knows_weights(tensors_fingerprint(network.state_dict()))
        else:
            assert images is not None  # see _needs_images
            context = Context(
                network,
                images,
                Calibration(images.input_size, None, images),
                Quality(images, metric=as_metric(metric)),
                loss,
                config.seed,
                options.log,
                store,
            )
            network = _base_network(context, example, config, store)
        result = compress(
            network,
            images,
            compression,
            example=example,
            loss=loss,
            metric=metric,
            device=config.device,
            data_root=config.data_root,
            log=options.log,
            store=store,
        )
        store.finish(FINETUNING)
        titles = (BASE_TRAINING, *map(title_of, range(1, compression.rounds)), FINETUNING)
        result = replace(result, history={title: store.read_history(title) for title in titles})
        naming = replace(naming, settings=_settings(config, result.data, trained, model))
        sizes = store.bytes_of("base"), store.bytes_of("model")
        facts = result.facts(naming, measure=options.measure and images is not None, file_bytes=sizes)
        facts = replace(facts, folder=str(store.path))
        write_json(store.layers, [asdict(layer) for layer in facts.layers])
        write_atomically(store.report, render(facts))
        write_json(store.metrics, facts.to_json())  # the last file, by which a run is known to be finished
    return RunResult(result.base, result.model, result.scores, result.plan, facts, store.path)


def _needs_images(config: RunConfig, trained: bool, measure: bool) -> bool:
    compression = config.compression
    trains = (
        not trained
        or compression.rounds > 1
        or any("labels" in step.needs and not step.is_idle for step in compression.after)
    )
    return measure or trains or compression.limits_drop or (compression.calibration is None and compression.uses_images)


def _base_network(context: Context, example: Any, config: RunConfig, store: RunFolder) -> nn.Module:
    """The trained network: of an earlier try, or trained now, once it is known that it can be pruned after."""
    compression, network, data = config.compression, context.base, context.data
    assert data is not None  # see _needs_images
    if compression.scores is not None:
        raise ConfigError("scores: of a network that is yet to be trained; give weights, or leave scores out")
    if isinstance(compression.criterion, str):
        criterion_named(compression.criterion)
    usable_steps(compression, data, RunLog())
    config.base.check(data.name)
    device = next(network.parameters()).device
    graph = trace(network, on_device(data.example() if example is None else example, device))
    calibration = calibration_for(
        graph, data, compression.calibration, compression.images, compression.seed, config.data_root
    )
    if compression.calibration is not None:
        calibration.images()
    check_feasible(graph, compression)
    store.begin()
    base = store.load("base", network)
    if base is not None:
        return base.to(device)
    base = config.base.train(network, context, BASE_TRAINING)
    store.save("base", base)
    store.finish(BASE_TRAINING)
    return base


def _settings(config: RunConfig, data: DataSet | None, trained: bool, model: nn.Module | None) -> dict[str, str]:
    """What came before the compression, for the report."""
    if model is not None:
        return {}
    weights = config.weights or ("its own weights" if trained else "trained here")
    network = ", ".join([config.model, *(f"{name} {value}" for name, value in config.arguments.items()), weights])
    base = {} if trained else {"base training": config.base.text(data.name if data else config.data_set)}
    return {"network": network} | base
