"""`reconv compare`: two networks side by side."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from reconv.cli.options import SeededMachine
from reconv.compression import Compression

if TYPE_CHECKING:
    from reconv.cost import Latency
    from reconv.results.measure import Comparison, Side

EXAMPLES = (
    "reconv compare runs/one runs/two",
    "reconv compare resnet56=W.safetensors runs/one --data-set CIFAR10",
    "reconv compare P/base P/model --data-set digits --json comparison.json",
)

First = Annotated[
    str,
    typer.Argument(
        metavar="A",
        help="A run's folder, a saved model, or a model's name with its weights: NAME=FILE.",
        show_default=False,
    ),
]
Second = Annotated[str, typer.Argument(metavar="B", help="The same.", show_default=False)]


def command(
    first: First,
    second: Second,
    data_set: str | None = None,
    data_root: str | None = None,
    task: str | None = None,
    split: Literal["validation", "test"] = "test",
    json_file: str | None = None,
    code: str | None = None,
    machine: SeededMachine = SeededMachine(),
) -> None:
    """Accuracy on the same images, MACs, interleaved latency, and layer by layer.

    Args:
        data_set: the images; None: those of the runs that are compared.
        data_root: the folder that holds the data set.
        task: my_task.py, a Python file with loaders and a metric, in place of a data set.
        split: validation or test.
        json_file: write every figure to this file too.
        code: the Python file that defines the class of a saved network, which is imported only if named here.
    """
    from reconv.cli import console
    from reconv.errors import ConfigError
    from reconv.files import write_json
    from reconv.quality import quality_for
    from reconv.results.measure import compare
    from reconv.runs import RunConfig, is_trained, load_inputs
    from reconv.training import device_named
    from reconv.zoo.code import use_code

    use_code(code)
    where = device_named(machine.device)
    names = (first, second)
    models = [_model_and_weights(name) for name in names]
    progress = console.Progress()
    images = _images(names, data_set, data_root, task, progress.note)
    networks: list[Any] = []
    given = None
    for letter, name, (model, weights) in zip("AB", names, models, strict=True):
        how = Compression(seed=machine.seed)
        config = RunConfig(model=model, weights=weights, compression=how, **images)
        if not is_trained(config):
            progress.note(f"{name}: no weights given (NAME=FILE gives them); the network's are random.")
        try:
            given = load_inputs(config, progress)
            networks.append(given.network.to(where).eval())
        except ConfigError as error:
            raise ConfigError(f"{letter}, {name}: {error}") from error
    assert given is not None  # there are two names
    if given.data is None:
        raise ConfigError(f"{task}: no loader of images to compare on; define test_loader")
    quality = quality_for(networks[0], given.data, given.metric, given.loss)
    comparison = compare((networks[0], networks[1]), names, given.data, where, progress, split, quality=quality)
    _show(comparison)
    if json_file is not None:
        write_json(Path(json_file), asdict(comparison))


def _model_and_weights(name: str) -> tuple[str, str | None]:
    """NAME=FILE taken apart; a path is a saved model as a whole, whatever is in it."""
    from reconv.errors import ConfigError, UnknownNameError
    from reconv.networks import saved_model_in
    from reconv.zoo import find_model

    if saved_model_in(name) is not None:
        return name, None
    model, has_weights, weights = name.partition("=")
    advice = "give a run's folder, a saved model, or a name that `reconv list models` shows"
    if os.sep not in model or ":" in model:
        try:
            find_model(model)
            return model, weights or None
        except UnknownNameError as error:
            if has_weights:
                raise
            near = str(error).rpartition("; ")[2]  # offered where there is one; a list of all names is no help here
            advice = near if near.startswith("did you mean") else advice
    raise ConfigError(f"reconv compare: no run or saved model at {name}, and no model of that name; {advice}")


def _images(
    names: tuple[str, str], data_set: str | None, root: str | None, task: str | None, note: Callable[[str], None]
) -> dict[str, Any]:
    """Whose images, and how they are read, as a configuration holds it: as given, else of the runs that the two are of.

    Raises:
        ConfigError: none is given, and neither is of a run, or the two are of runs on different images.
    """
    from reconv.data import canonical_data_set
    from reconv.errors import ConfigError
    from reconv.networks import saved_model_in
    from reconv.runs.folder import RunFolder

    runs = {
        letter: folder.config()
        for letter, saved in zip("AB", map(saved_model_in, names), strict=True)
        if saved is not None and (folder := RunFolder(saved.parent)).is_begun
    }
    theirs = " and ".join(f"{letter} is of a run on {config.data_set}" for letter, config in runs.items())
    data_sets = {canonical_data_set(config.data_set) for config in runs.values()}
    if task is not None:
        return {"data_set": Path(task).name, "task": task}
    if data_set is not None:
        if data_sets - {canonical_data_set(data_set)}:
            note(f"compared on {data_set}, although {theirs}.")
        return {"data_set": data_set, "data_root": root}
    if not runs:
        raise ConfigError("reconv compare: on which images? Neither is a run with a saved network; give --data-set")
    if len(data_sets) > 1:
        raise ConfigError(f"reconv compare: on which images? {theirs}; give --data-set")
    first = next(iter(runs.values()))
    if first.task is not None:
        raise ConfigError(
            f"reconv compare: the run's images are those of {first.task}, code that a folder never imports by itself; "
            f"name it: --task {first.task}"
        )
    kept = {name: getattr(first, name) for name in ("data_set", "preprocessing")}
    return {**kept, "data_root": root or first.data_root}


def _show(comparison: Comparison) -> None:
    from reconv.cli import console
    from reconv.report import numbers
    from reconv.study import labels

    out, a, b = console.stdout(), comparison.a, comparison.b
    count, counted, percent, duration = numbers.count, numbers.counted, numbers.percent, numbers.duration
    times = numbers.times

    def value(side: Side) -> str:
        if comparison.difference is not None or side.accuracy is None:
            return percent(side.accuracy)
        return f"{side.accuracy:.4g}"

    rows = [
        (f"{comparison.quality}, {comparison.images:,} {comparison.split} images", value(a), value(b), ""),
        ("MACs per image", count(a.macs), count(b.macs), times(a.macs, b.macs, "fewer", "more")),
        (
            "parameters",
            count(a.parameters),
            count(b.parameters),
            times(a.parameters, b.parameters, "fewer", "more"),
        ),
    ]
    for one, other in zip(a.latency, b.latency, strict=True):
        change = "within noise" if one.overlaps(other) else times(one.median, other.median, "faster", "slower")
        rows.append((f"latency, batch {one.batch}", duration(one.median), duration(other.median), change))
        rows.append(("  its quartiles", _quartiles(one), _quartiles(other), ""))
    for letter, side in (("A", a), ("B", b)):
        out.print(f"{letter}: {side.name}", markup=False, soft_wrap=True)
    out.print(console.table("", ("", "A", "B", "B is"), rows))
    runs = " and ".join(dict.fromkeys(f"{one.runs:,}" for one in a.latency))
    out.print(
        f"Latency: median and quartiles of {runs} interleaved passes, on {comparison.device} with "
        f"{counted(comparison.threads, 'thread')}, PyTorch {comparison.versions['torch']}; "
        "within noise where quartiles overlap.",
        soft_wrap=True,
        markup=False,
    )
    d = comparison.difference
    verdict = {"better": "B is better, beyond noise", "worse": "B is worse, beyond noise", "noise": "within noise"}
    if d is not None:
        out.print(
            f"Accuracy of B less that of A: {numbers.in_points(d.value)} points {labels.bounds(d)}, a 95 % interval by "
            f"the paired bootstrap: {verdict[labels.verdict(d)]}. Only A was right on "
            f"{counted(comparison.only_a, 'image')}, only B on {comparison.only_b:,}; "
            f"McNemar's exact test: p = {comparison.p_value:.2g}.",
            soft_wrap=True,
            markup=False,
        )
    layers = [
        (
            row.name,
            *(("" if n is None else f"{n:,}") for n in row.channels),
            *(("" if n is None else numbers.count(n)) for n in row.macs),
            *(("" if s is None else duration(s)) for s in row.seconds),
        )
        for row in comparison.layers
    ]
    title = f"Layer by layer; time: of {counted(comparison.layer_batch, 'image')}, within a pass"
    columns = ("layer", "channels A", "B", "MACs A", "B", "time A", "B")
    out.print(console.table(title, columns, layers))


def _quartiles(latency: Latency) -> str:
    from reconv.report.numbers import duration

    return f"{duration(latency.low)} – {duration(latency.high)}"
