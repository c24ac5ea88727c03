"""`reconv report`: the report of a run or a study, made again, or among others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = (
    "reconv report runs/one",
    "reconv report runs/one --study benchmarks/results/study/cifar10",
    "reconv report STUDY --output study.html",
)

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Of a run or a study.", show_default=False)]
Of = Annotated[
    Path | None,
    typer.Option("--study", help="Show the run's point among those of this study.", rich_help_panel="Report"),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="The file to write.", show_default="report.html in the folder"),
]


def command(folder: Folder, study: Of = None, output: Output = None) -> None:
    """Write the report of a run or a study as one HTML file that needs no network."""
    from reconv.cli import console
    from reconv.errors import ConfigError
    from reconv.files import write_atomically
    from reconv.report import numbers, render, render_study
    from reconv.runs import is_run, load_facts
    from reconv.study import Store, points_of_network, study_facts

    target = output or folder / "report.html"
    if Store(folder).is_study:
        if study is not None:
            raise ConfigError("--study: is for the report of a run; this folder is a study itself")
        page = render_study(study_facts(Store(folder))[0])
    elif is_run(folder):
        facts = load_facts(folder)
        series = points_of_network(Store(study), facts.hashes.get("weights before", "")) if study else ()
        if study is not None and not series:
            console.Progress().note(f"{study}: has no points of this run's network; the report shows the run alone.")
        page = render(facts, series)
    else:
        raise ConfigError(f"{folder}: neither a finished run nor a study; give the folder of one")
    write_atomically(target, page)
    size = numbers.size(len(page.encode()))
    console.stdout().print(f"report  {target}  ({size})", markup=False, soft_wrap=True)
