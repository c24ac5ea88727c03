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


def command(
    folder: Annotated[str, typer.Argument(help="The folder of a run or a study.", show_default=False)],
    study: str | None = None,
    output: str | None = None,
) -> None:
    """Write the report of a run or a study as one HTML file that needs no network.

    Args:
        study: show the run's point among those of this study.
        output: the file to write; None: report.html in the folder.
    """
    from reconv.cli import console
    from reconv.errors import ConfigError
    from reconv.files import write_atomically
    from reconv.report import numbers, render, render_study
    from reconv.runs import is_run, load_facts
    from reconv.study import Store, points_of_network, study_facts

    path = Path(folder)
    target = path / "report.html" if output is None else Path(output)
    if Store(path).is_study:
        if study is not None:
            raise ConfigError("--study: is for the report of a run; this folder is a study itself")
        page = render_study(study_facts(Store(path))[0])
    elif is_run(path):
        facts = load_facts(path)
        series = points_of_network(Store(Path(study)), facts.hashes.get("weights before", "")) if study else ()
        if study is not None and not series:
            console.Progress().note(f"{study}: has no points of this run's network; the report shows the run alone.")
        page = render(facts, series)
    else:
        raise ConfigError(f"{folder}: neither a finished run nor a study; give the folder of one")
    write_atomically(target, page)
    size = numbers.size(len(page.encode()))
    console.stdout().print(f"report  {target}  ({size})", markup=False, soft_wrap=True)
