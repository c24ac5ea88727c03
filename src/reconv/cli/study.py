"""`reconv study`: criteria against each other, over budgets, arms and seeds, each cell computed once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconv.cli import names, options

if TYPE_CHECKING:
    from reconv.study import Network, Study

EXAMPLES = (
    "reconv study benchmarks/studies/cifar10.toml --weights-root W --data-root D --save-path P",
    "reconv study --model resnet20 --weights W.safetensors -d CIFAR10 -c nuc -c l1 -b macs=0.5 --arm pruned-only",
    "reconv study STUDY.toml --save-path P --jobs 2",
    "reconv study --tables --save-path P",
)

_ASKED, _HOW = "What is asked", "How it is computed"

File = Annotated[
    Path | None, typer.Argument(help="A study as a TOML file; without one, options say it.", show_default=False)
]
Model = Annotated[str | None, typer.Option("--model", "-m", help="A model by name or path.", rich_help_panel=_ASKED)]
Criteria = Annotated[
    list[str] | None,
    typer.Option(
        "--metric",
        "-c",
        help="A criterion; several may be given. 'torch-pruning:l1' is the peer's.",
        rich_help_panel=_ASKED,
    ),
]
Budgets = Annotated[
    list[str] | None,
    typer.Option(
        "--budget", "-b", help="macs=0.5 and the like, or cfg1; several may be given.", rich_help_panel=_ASKED
    ),
]
Schemes = Annotated[
    list[str] | None,
    typer.Option(
        "--scheme", help="uniform, global, knapsack or allocated; several may be given.", rich_help_panel=_ASKED
    ),
]
Arms = Annotated[
    list[str] | None,
    typer.Option(
        "--arm",
        help="pruned-only, recalibrated, repaired, short-fine-tune, papers-protocol, from-scratch; or several.",
        rich_help_panel=_ASKED,
    ),
]
DataSet = Annotated[
    str | None,
    typer.Option(
        "--data-set",
        "-d",
        help="Whose images, as of `reconv run`.",
        autocompletion=names.offer(names.DATA_SETS),
        rich_help_panel="Data",
        show_default="CIFAR10",
    ),
]
Seeds = Annotated[
    int | None,
    typer.Option("--seeds", help="How many seeds.", rich_help_panel=_ASKED, show_default="1"),
]
RandomSeeds = Annotated[
    int | None, typer.Option("--random-seeds", help="How many of random criteria.", rich_help_panel=_ASKED)
]
Reference = Annotated[
    str | None,
    typer.Option(
        "--reference",
        help="The criterion that others are compared with.",
        rich_help_panel=_ASKED,
        show_default="l1",
    ),
]
Latency = Annotated[
    bool | None,
    typer.Option(
        "--latency/--no-latency", help="Time the small networks too.", rich_help_panel=_ASKED, show_default=False
    ),
]
WeightsRoot = Annotated[
    Path | None,
    typer.Option(
        "--weights-root", envvar="RECONV_WEIGHTS", help="Where the file's weights lie.", rich_help_panel="Model"
    ),
]
Jobs = Annotated[int, typer.Option("--jobs", "-j", help="Processes at a time.", rich_help_panel=_HOW)]
Executor = Annotated[
    str,
    typer.Option("--executor", help="processes: on this machine; ray: on a Ray cluster.", rich_help_panel=_HOW),
]
Pack = Annotated[
    Path | None,
    typer.Option(
        "--pack",
        help="Also write all outcomes, tables and the report to this folder, few files; what it has besides stays.",
        rich_help_panel="Output",
    ),
]
OnlyTables = Annotated[
    bool,
    typer.Option(
        "--tables",
        help="Compute no cell; make tables and report of what lies in --save-path, as it was asked last, or by FILE.",
        rich_help_panel=_HOW,
    ),
]


def command(
    file: File = None,
    model: Model = None,
    weights: options.Weights = None,
    weights_root: WeightsRoot = None,
    data_set: DataSet = None,
    data_root: options.DataRoot = None,
    metric: Criteria = None,
    budget: Budgets = None,
    scheme: Schemes = None,
    arm: Arms = None,
    seeds: Seeds = None,
    random_seeds: RandomSeeds = None,
    coupled: options.Coupled = False,
    reference: Reference = None,
    latency: Latency = None,
    jobs: Jobs = 1,
    executor: Executor = "processes",
    device: options.Device = "cpu",
    only_tables: OnlyTables = False,
    save_path: options.SavePath = None,
    pack: Pack = None,
) -> None:
    """Compare criteria over budgets, schemes, arms and seeds; called again, it computes only what is missing.

    Without --save-path, a study goes on in the folder in runs/ where a study of its title was last.
    """
    from reconv import study as studies
    from reconv.cli import common, console, study_out
    from reconv.errors import ConfigError
    from reconv.report import numbers

    asked = {
        "weights": weights,
        "data_set": data_set,
        "metric": metric,
        "budget": budget,
        "scheme": scheme,
        "arm": arm,
        "seeds": seeds,
        "random_seeds": random_seeds,
        "coupled": coupled or None,
        "reference": reference,
        "latency": latency,
    }
    given = {name: value for name, value in asked.items() if value is not None}
    command, done = common.this_command(), None
    study = _asked(file, model, given, weights_root, common.text(data_root))
    if pack is not None:
        studies.Store(pack).check()
        studies.Store(pack).records()  # damaged ones are told of now and not at the end
    if only_tables:
        store = studies.Store(_finished(save_path))
        if study is not None:
            studies.begin_study(study, store, device, command.replace(" --tables", ""))
    elif study is None:
        raise ConfigError("reconv study: nothing asked; give a TOML file, or --model and what else is asked")
    else:
        folder = save_path or _folder(study, file.stem if file else study.networks[0].name)
        with console.resumable(folder, flag=""):
            lines = study_out.Lines()
            done = studies.run_study(
                study, folder, jobs=jobs, executor=executor, device=device, log=lines, command=command
            )
        study_out.say(done)
        store = done.store
    study_out.write(store, pack=pack)
    if done is not None and done.is_empty:
        cell, why = done.failed[0]
        number = numbers.counted(len(done.failed), "cell")
        raise ConfigError(f"reconv study: none can be computed of {number}; the first, {cell}: {why}")


def _asked(
    file: Path | None, model: str | None, given: Mapping[str, Any], weights_root: Path | None, data_root: str | None
) -> Study | None:
    """What a file says, or what options say; None where neither is there."""
    from reconv import study as studies
    from reconv.errors import ConfigError

    if file is not None and model is not None:
        raise ConfigError("reconv study: a TOML file and --model; give one of them")
    if given and model is None:
        flags = ", ".join("--" + name.replace("_", "-") for name in given)
        there = "nothing they belong to" if file is None else f"{file} says what is asked"
        raise ConfigError(f"reconv study: {flags}: {there}; leave them out, or give --model instead of a file")
    if file is not None:
        return studies.read_study(file, weights_root=weights_root, data_root=data_root)
    if model is None:
        return None
    network = _network(model, given, data_root)
    grid = studies.Grid(
        networks=(network.name,),
        criteria=tuple(given.get("metric", ("nuc", "l1", "random"))),
        budgets=tuple(given.get("budget", ("macs=0.5",))),
        schemes=tuple(given.get("scheme", ("uniform",))),
        arms=tuple(given.get("arm", ("pruned only", "recalibrated"))),
        seeds=given.get("seeds", 1),
        random_seeds=given.get("random_seeds"),
        coupled=given.get("coupled", False),
    )
    return studies.Study(
        f"Criteria on {network.data_set}: {network.name}",
        (network,),
        (grid,),
        reference=given.get("reference", "l1"),
        latency=given.get("latency", False),
    )


def _network(model: str, given: Mapping[str, Any], data_root: str | None) -> Network:
    """A network with the weights that `reconv run` would start from; random ones only where they are asked for."""
    from reconv import study as studies
    from reconv.cli import common, console
    from reconv.networks import saved_model_in

    name = model if saved_model_in(model) is None else Path(model).resolve().name
    asked = common.text(given.get("weights"))
    network = studies.Network(name, model, asked, {}, given.get("data_set", "CIFAR10"), data_root).with_weights()
    if asked is None and network.weights is not None:
        console.Progress().note(f"{name}: starts from the trained network of reconv; --weights F studies others.")
    return network


def _folder(study: Study, name: str) -> Path:
    """Where a study goes that was given no folder: where one of its title was last, or a new one."""
    from reconv.cli import common
    from reconv.study import Store

    new = common.output_path(None, False, "study", name)
    stores = [Store(path) for path in new.parent.glob("study-*")]
    last = max((store for store in stores if store.title == study.title), key=Store.last_requested, default=None)
    return new if last is None else last.path


def _finished(folder: Path | None) -> Path:
    """The folder of a study that is there already."""
    from reconv.errors import ArtifactError, ConfigError
    from reconv.study import Store

    if folder is None:
        raise ConfigError("reconv study --tables: of which study? Give its folder: --save-path P")
    if not Store(folder).is_study:
        raise ArtifactError(f"{folder}: no study; give a folder that reconv study wrote, or leave --tables out")
    return folder
