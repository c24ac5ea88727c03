"""`reconv study`: criteria against each other, over budgets, arms and seeds, each cell computed once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reconv.cli import options

EXAMPLES = (
    "reconv study benchmarks/studies/cifar10.toml --weights-root W --data-root D --save-path P",
    "reconv study --model resnet20 --weights W.safetensors --data-set CIFAR10 -c nuc -c l1 -b macs=0.5 --arm as-cut",
    "reconv study STUDY.toml --save-path P --jobs 2",
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
    typer.Option("--scheme", help="uniform, global or allocated; several may be given.", rich_help_panel=_ASKED),
]
Arms = Annotated[
    list[str] | None,
    typer.Option(
        "--arm",
        help="as-cut, recalibrated, repaired, short-fine-tune, papers-protocol, from-scratch; several may be given.",
        rich_help_panel=_ASKED,
    ),
]
Seeds = Annotated[int, typer.Option("--seeds", help="How many seeds.", rich_help_panel=_ASKED)]
RandomSeeds = Annotated[
    int | None, typer.Option("--random-seeds", help="How many of the random criterion.", rich_help_panel=_ASKED)
]
Reference = Annotated[
    str, typer.Option("--reference", help="The criterion that others are compared with.", rich_help_panel=_ASKED)
]
Latency = Annotated[
    bool, typer.Option("--latency/--no-latency", help="Time the small networks too.", rich_help_panel=_ASKED)
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
        help="Also write all outcomes, tables and figures to this folder, few files.",
        rich_help_panel="Output",
    ),
]
OnlyTables = Annotated[
    bool,
    typer.Option("--tables", help="Compute nothing; make tables and report of what there is.", rich_help_panel=_HOW),
]


def command(
    file: File = None,
    model: Model = None,
    weights: options.Weights = None,
    weights_root: WeightsRoot = None,
    data_set: options.DataSet = "CIFAR10",
    data_root: options.DataRoot = None,
    metric: Criteria = None,
    budget: Budgets = None,
    scheme: Schemes = None,
    arm: Arms = None,
    seeds: Seeds = 1,
    random_seeds: RandomSeeds = None,
    coupled: options.Coupled = False,
    reference: Reference = "l1",
    latency: Latency = False,
    jobs: Jobs = 1,
    executor: Executor = "processes",
    device: options.Device = "cpu",
    only_tables: OnlyTables = False,
    save_path: options.SavePath = None,
    pack: Pack = None,
) -> None:
    """Compare criteria over budgets, schemes, arms and seeds; called again, it computes only what is missing."""
    from reconv import study as studies
    from reconv.cli import common, console, study_out
    from reconv.errors import ConfigError

    if (file is None) == (model is None):
        raise ConfigError("reconv study: give a TOML file, or --model and what else is asked, and not both")
    if file is not None:
        asked = studies.read_study(file, weights_root=weights_root, data_root=common.text(data_root))
    else:
        grid = studies.Grid(
            networks=(model or "",),
            criteria=tuple(metric or ("nuc", "l1", "random")),
            budgets=tuple(budget or ("macs=0.5",)),
            schemes=tuple(scheme or ("uniform",)),
            arms=tuple(arm or ("as cut", "recalibrated")),
            seeds=seeds,
            random_seeds=random_seeds,
            coupled=coupled,
        )
        network = studies.Network(model or "", model or "", common.text(weights), {}, data_set, common.text(data_root))
        asked = studies.Study(
            f"Criteria on {data_set}: {model}", (network,), (grid,), reference=reference, latency=latency
        )
    folder = save_path or common.output_path(None, False, "study", file.stem if file else model or "")
    if only_tables:
        studies.Store(folder).describe(asked.title, asked.description)
    else:
        with console.resumable(folder, flag=""):
            done = studies.run_study(
                asked, folder, jobs=jobs, executor=executor, device=device, progress=study_out.Lines()
            )
        study_out.say(done)
    study_out.write(studies.Store(folder), command=common.this_command(), pack=pack)
