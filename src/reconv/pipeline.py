"""`compress`: from a network to a smaller one, as a `Compression` says. Read it from top to bottom:

trace -> score -> choose -> prune -> verify (in rounds, if wanted) -> repair, recalibrate, fine-tune, ... -> result
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_map

from reconv.cache import Cache
from reconv.calibration import calibration_for
from reconv.compression import AFTER, Compression
from reconv.data import DataSet, as_data_set, load_data
from reconv.deploy import check_runtime
from reconv.drop import certify, find_smallest, set_aside
from reconv.errors import ConfigError, check_kind
from reconv.files import tensors_fingerprint
from reconv.graph import trace
from reconv.mappings import tag_of
from reconv.networks import load_trained
from reconv.quality import Quality, held_out, quality_for
from reconv.report.numbers import counted, percent
from reconv.results.result import LARGEST_BATCH, Result
from reconv.rounds import prune_in_rounds
from reconv.runlog import RunLog
from reconv.steps import Context, Step
from reconv.store import Store
from reconv.threads import few_threads
from reconv.training import Metric, device_named
from reconv.training.evaluation import as_metric, device_of, placed


def compress(
    model: nn.Module | str,
    data: Any = None,
    compression: Compression = Compression(),
    *,
    example: Any = None,
    loss: Callable[[Any, Any], Tensor] | None = None,
    metric: Metric | Callable[[Any, Any], float | Tensor] | None = None,
    device: str | None = None,
    data_root: str | None = None,
    log: RunLog | None = None,
    store: Store | None = None,
    cache: Cache | None = None,
) -> Result:
    """Remove channels of a trained network, prove that the rest is right, and repair and train what is left.

    Args:
        model: the trained network, which stays as it is; or the name of one, or the folder of a saved one.
        data: a `DataSet`, a torch `DataLoader` or `Dataset`, a pair of tensors, images alone (what needs no labels is
            done), or a data set by name; None where nothing needs images (see `reconv.data.as_data_set`).
        compression: what is removed, and what is done after; steps that it has by default are left out, with a note,
            where the data do not allow them.
        example: an input of the network, as `trace` takes it; None: zeros in the shape of the data's images.
        loss: of outputs and targets, for training; None: cross-entropy.
        metric: of outputs and targets, for the figures; None: top-1, or agreement with the original without labels.
        device: where to compute; None: where the model is.
        data_root: the folder that holds data sets, for those by name.
        log: is told what happens; None: nobody is. store: keeps results as they appear, and has those of earlier.
        cache: for several compressions of one network and data: what they share.

    Returns:
        The smaller network, with plan, scores and figures; on a CPU the same to the bit for the same arguments.

    Raises:
        ReconvError: arguments that do not fit together, before any work where possible.

    Example:
        >>> import torch, reconv
        >>> net = torch.nn.Sequential(
        ...     torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3), torch.nn.Flatten()
        ... )
        >>> images = torch.randn(40, 3, 8, 8)
        >>> result = reconv.compress(net, images, reconv.Compression(budget=reconv.Budget(macs=0.5)))
        >>> result.model[0].out_channels < 8
        True
    """
    check_kind("compress: model", model, (nn.Module, str))
    check_kind(
        "compress: compression",
        compression,
        Compression,
        "options such as reconv.Compression(budget=reconv.Budget(macs=0.5))",
    )
    log = log or RunLog()
    images = as_images(data, example, compression.seed, data_root, held=compression.held_share)
    images, aside = set_aside(images, compression)
    cache = Cache() if cache is None and aside is not None else cache
    network = as_network(model, images, device)
    where = device_of(network)
    store = store or Store(str(where))
    if example is None and images is None:
        raise ConfigError("compress: neither data nor an example; give an input of the network, example=...")
    example = images.example() if example is None and images is not None else example
    after = usable_steps(compression, images, log)
    with few_threads(pixels_per_batch(images), where):
        example = tree_map(lambda x: x.to(where) if isinstance(x, Tensor) else x, example)
        graph = trace(network, example) if cache is None else cache.get("graph", None, lambda: trace(network, example))
        calibration = calibration_for(
            graph, images, compression.calibration, compression.images, compression.seed, data_root, cache
        )
        if compression.calibration is not None:
            calibration.images()  # that there are such images, before any work
        measures = log.measures or aside is not None
        quality = quality_for(network, images, as_metric(metric), loss) if measures else Quality(None)
        context = Context(network, images, calibration, quality, loss, compression.seed, log, store)
        before = _measured_first(quality, network, log)
        found = None if aside is None else find_smallest(graph, compression, after, context, aside, cache)
        rounds = prune_in_rounds(graph, compression if found is None else found.compression, after, context, cache)
        whole, pruned = rounds.whole, rounds.last
        store.save("scores", whole.scores)
        store.save("plan", whole.plan)
        if quality.data is not None:
            with log.stage("validate") as stage:
                quality.put_on(stage, pruned.model)
                stage.note = ", ".join(filter(None, (stage.note, "pruned only", before and f"{before} before")))
        small = pruned.model
        for step in after:
            small = step.apply(small, pruned.plan, context)
        last = next((row.accuracy for row in reversed(log.rows) if row.accuracy is not None), None)
        if quality.is_at_chance(last):
            log.note(
                f"the pruned network is at chance level ({percent(last)} of the validation images); repair or "
                "fine-tune it, or remove less."
            )
        store.save("model", small, whole.plan)
        certificate = None if found is None else certify(found, small, log)
    return Result(
        base=network,
        model=small,
        graph=graph,
        scores=whole.scores,
        plan=whole.plan,
        compression=compression,
        verified=whole.error,
        rounds=rounds.facts_with(quality.accuracy(small) if rounds.facts else None),
        log=log,
        history=store.history,
        data=images,
        quality=quality,
        pruned_only=tensors_fingerprint(pruned.model.state_dict()),
        exported=tuple(store.exported),
        certificate=certificate,
    )


def _measured_first(quality: Quality, network: nn.Module, log: RunLog) -> str:
    """The network before pruning on the validation images, shown first: what a user can compare with what he knows."""
    if quality.data is None or not len(quality.data.validation) or quality.compares:
        return ""
    with log.stage("before pruning") as stage:
        quality.put_on(stage, network)
        images = counted(len(quality.data.validation), "validation image")
        stage.note = ", ".join(filter(None, (stage.note, f"of {images}")))
    if quality.is_at_chance(stage.accuracy):
        log.note(
            f"the network is at chance level before pruning ({percent(stage.accuracy)}): its weights are not trained, "
            "or images reach it otherwise than in its training; see --image-size, --resize, --mean, --std."
        )
    return percent(stage.accuracy) if quality.is_share else stage.note.partition(", ")[0].removeprefix("validation ")


def usable_steps(compression: Compression, data: DataSet | None, log: RunLog) -> tuple[Step, ...]:
    """The steps after pruning, for these data; protocols and teachers are looked up, before any work.

    Raises:
        ConfigError: a step, a criterion or rounds that the data do not allow; steps by default are left out instead.
    """
    unlabelled = data is None or not data.labelled or not len(data.train)
    alone = data is None or not len(data.train if data.calibration is None else data.calibration)
    without = {
        "images": alone and compression.calibration is None,
        "labels": unlabelled,
        "training images": (data is None or not len(data.train)) and compression.calibration is None,
    }
    if without["images"] and compression.looks_at_images:
        raise ConfigError(
            f"{compression.criterion}, {compression.scheme}: they look at images; give data, or calibration='leaves'"
        )
    if compression.rounds > 1 and not compression.between.is_idle and unlabelled:
        raise ConfigError("rounds: the training between them needs images with labels; give such data, or one round")
    usable = []
    for step in compression.after:
        lacking = [need for need, lacks in without.items() if lacks and need in step.needs and not step.is_idle]
        if lacking and compression.after != AFTER:
            raise ConfigError(f"{tag_of(type(step))}: it needs {lacking[0]}; give data that have them, or leave it out")
        if lacking:
            log.note(f"{tag_of(type(step))} is left out: there are no {lacking[0]}.")
        elif not step.is_idle:
            usable.append(step)
    for runtime in compression.timing.runtime:
        check_runtime(runtime)
    for step in (*usable, compression.between):
        step.check("" if data is None else data.name)
    return tuple(usable)


def as_images(
    data: Any, example: Any, seed: int, root: str | None = None, *, held: float | None = None
) -> DataSet | None:
    """The data of `compress` as a data set; of images without labels some are kept to measure on (`held`: a share)."""
    if data is None:
        return None
    if isinstance(data, str):
        return load_data(data, root, seed=seed, download=True)
    return held_out(as_data_set(data, example=example if isinstance(example, Tensor) else None, seed=seed), seed, held)


def as_network(model: nn.Module | str, data: DataSet | None, device: str | None) -> nn.Module:
    """The module itself, on its device; a copy where another device is wanted."""
    if isinstance(model, str):
        model = load_trained(model, "" if data is None else data.name)
    if not isinstance(model, nn.Module):
        raise ConfigError(f"model: {model!r:.80}; give a torch.nn.Module, or the name of a network")
    return model if device is None else placed(model, device_named(device))


def pixels_per_batch(data: DataSet | None) -> int:
    """In a batch of the larger size; images whose size is unknown count as large."""
    return 1 << 30 if data is None else LARGEST_BATCH * math.prod(data.input_size[1:])
