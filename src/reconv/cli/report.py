"""`reconv report`: the report of a run or a study, made again, or among others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from reconv.report import RunFacts, Series, StudyFacts

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
    from reconv.study.kept_facts import kept_facts

    path = Path(folder)
    target = path / "report.html" if output is None else Path(output)
    if is_run(path):
        facts = load_facts(path)
        series = () if study is None else _points(Path(study), facts)
        if study is not None and not series:
            console.Progress().note(f"{study}: has no points of this run's network; the report shows the run alone.")
        page = render(facts, series)
    else:
        if study is not None and (path / "study.json").is_file():
            raise ConfigError("--study: is for the report of a run; this folder is a study itself")
        page = render_study(kept_facts(path) or _computed(path))
    write_atomically(target, page)
    size = numbers.size(len(page.encode()))
    console.stdout().print(f"report  {target}  ({size})", markup=False, soft_wrap=True)


def _computed(folder: Path) -> StudyFacts:
    """What a study comes to, from its cells; loads PyTorch."""
    from reconv.errors import ConfigError
    from reconv.study import Store, study_facts

    if not Store(folder).is_study:
        raise ConfigError(f"{folder}: neither a finished run nor a study; give the folder of one")
    return study_facts(Store(folder))[0]


def _points(study: Path, facts: RunFacts) -> tuple[Series, ...]:
    """A study's points of the run's network."""
    from reconv.study import Store, points_of_network

    return points_of_network(Store(study), facts.hashes.get("weights before", ""))
