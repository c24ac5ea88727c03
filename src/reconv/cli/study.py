"""`reconv study`: criteria against each other, over budgets, arms and seeds, each cell computed once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from reconv.cli.fields import Given
from reconv.cli.options import Machine, Output
from reconv.compression import Scheme
from reconv.preprocessing import Preprocessing
from reconv.study.shared import Shared

if TYPE_CHECKING:
    from reconv.study import Network, Study

EXAMPLES = (
    "reconv study benchmarks/studies/cifar10.toml --weights-root W --data-root D --save-path P",
    "reconv study resnet20 --weights W.safetensors -d CIFAR10 -c nuc -c l1 -b macs=0.5 --arm pruned-only",
    "reconv study STUDY.toml --save-path P --jobs 2",
    "reconv study --tables --save-path P",
)


@dataclass(frozen=True)
class Request:
    """A study without a file.

    Args:
        weights: file of trained weights, or "none" for random ones, where reconv has trained ones.
        model_arg: an argument of the model, such as width=32; repeatable.
        code: the Python file that defines the class of a saved network, which is imported only if named here.
        data_set: the images: digits, CIFAR10, CIFAR100, imagenet, or a folder of images.
        task: my_task.py, a Python file with loaders and without loss or metric, in place of a data set.
        criterion: a rule that scores channels, such as nuclear; "torch-pruning:l1" is that library's; repeatable.
        budget: what may remain, such as macs=0.5, or cfg1 for the paper's recipe 1; repeatable.
        scheme: how a budget is shared: uniform, global, knapsack or allocated; repeatable.
        arm: what follows: pruned-only, recalibrated, repaired, short-fine-tune, papers-protocol,
            from-scratch; repeatable.
        seeds: number of seeds.
        random_seeds: number of seeds of random criteria; None: as many.
        reference: the criterion that others are compared with.
        latency: time the small networks too.
    """

    weights: str | None = None
    model_arg: Mapping[str, Any] = field(default_factory=dict)
    code: str | None = None
    data_set: str = "CIFAR10"
    task: str | None = None
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    criterion: tuple[str, ...] = ("nuc", "l1", "random")
    budget: tuple[str, ...] = ("macs=0.5",)
    scheme: tuple[Scheme, ...] = ("uniform",)
    arm: tuple[str, ...] = ("pruned only", "recalibrated")
    seeds: int = 1
    random_seeds: int | None = None
    shared: Shared = field(default_factory=Shared)
    reference: str = "l1"
    latency: bool = False


def command(
    model: str | None = None,
    request: Given[Request] = Given(Request()),
    data_root: str | None = None,
    weights_root: str | None = None,
    jobs: int = 1,
    executor: Literal["processes", "ray"] = "processes",
    machine: Machine = Machine("cpu"),
    tables: bool = False,
    save_path: str | None = None,
    pack: str | None = None,
) -> None:
    """Compare criteria over budgets, schemes, arms and seeds; called again, it computes only what is missing.

    Without --save-path, a study continues in the folder in runs/ where a study of its title was last.

    Args:
        model: a study as a TOML file; or the name or folder of a network, for a study that options describe.
        data_root: the folder that holds the data set.
        weights_root: the folder of the weights that the file names.
        jobs: processes at a time.
        executor: processes on this machine, or ray for a Ray cluster.
        tables: compute nothing, make tables and report of the results in --save-path.
        save_path: the folder to write to.
        pack: also write all outcomes, tables and the report to this folder, in few files; its other files stay.
    """
    from reconv import study as studies
    from reconv.cli import common, console, study_out
    from reconv.errors import ConfigError
    from reconv.report import numbers

    command_line, done = common.this_command(), None
    file = Path(model) if model is not None and model.endswith(".toml") else None
    study = _study(file, model if file is None else None, request, weights_root, data_root)
    if pack is not None:
        studies.Store(Path(pack)).check()
        studies.Store(Path(pack)).records()  # refuses damaged ones now and not at the end
    if tables:
        if save_path is None:
            raise ConfigError("reconv study --tables: of which study? Give its folder: --save-path P")
        store = studies.Store(Path(save_path))
        store.study  # noqa: B018  # refuses what is no study
        if study is not None:
            studies.begin_study(study, store, machine.device, command_line.replace(" --tables", ""))
    elif study is None:
        raise ConfigError("reconv study: of what? Give a TOML file, or a network and what else is to be compared")
    else:
        folder = Path(save_path) if save_path else _folder(study, file.stem if file else study.networks[0].name)
        with console.resumable(folder, flag=""):
            options = {"executor": executor, "device": machine.device, "command": command_line}
            done = studies.run_study(study, folder, jobs=jobs, log=study_out.Lines(), **options)
        study_out.print_outcome(done)
        store = done.store
    study_out.write(store, pack=None if pack is None else Path(pack))
    if done is not None and done.is_empty:
        cell, why = done.failed[0]
        number = numbers.counted(len(done.failed), "cell")
        raise ConfigError(f"reconv study: none can be computed of {number}; the first, {cell}: {why}")


def _study(
    file: Path | None, model: str | None, given: Given[Request], weights_root: str | None, data_root: str | None
) -> Study | None:
    """The study of a file, or that which options describe; None where neither is there."""
    from reconv import study as studies
    from reconv.errors import ConfigError

    if given.flags and model is None:
        flags = ", ".join(given.flags)
        there = "no network that they belong to" if file is None else f"{file} describes the study"
        raise ConfigError(f"reconv study: {flags}: {there}; leave them out, or give a network instead of a file")
    if file is not None:
        return studies.read_study(file, weights_root=weights_root, data_root=data_root)
    if model is None:
        return None
    request = given.build()
    network = _network(model, request, data_root)
    varied = (request.criterion, request.budget, request.scheme, request.arm, request.seeds, request.random_seeds)
    grid = studies.Grid((network.name,), *varied, **request.shared.options)
    title = f"Criteria on {network.data_set}: {network.name}"
    return studies.Study(title, (network,), (grid,), reference=request.reference, latency=request.latency)


def _network(model: str, request: Request, data_root: str | None) -> Network:
    """A network with the weights that `reconv run` would start from; random ones only where they are asked for."""
    from reconv import study as studies
    from reconv.cli import console
    from reconv.networks import saved_model_in
    from reconv.zoo.code import use_code

    name = model if saved_model_in(model) is None else Path(model).resolve().name
    use_code(request.code)
    data_set = request.data_set if request.task is None else Path(request.task).name
    network = studies.Network(
        name,
        model,
        request.weights,
        dict(request.model_arg),
        data_set,
        data_root,
        task=request.task,
        preprocessing=request.preprocessing,
    ).with_weights()
    if request.weights is None and network.weights is not None:
        console.Progress().note(f"{name}: starts from the trained network of reconv; --weights F studies others.")
    return network


def _folder(study: Study, name: str) -> Path:
    """Where a study goes that was given no folder: where one of its title was last, or a new one."""
    from reconv.cli import common
    from reconv.study import Store

    new = common.output_path(Output(), "study", name)
    stores = [Store(path) for path in new.parent.glob("study-*")]
    last = max((store for store in stores if store.title == study.title), key=Store.last_requested, default=None)
    return new if last is None else last.path
