"""From a study's results to what the documentation shows of it: `docs/results.md` and its pictures.

    python benchmarks/studies/publish.py benchmarks/results/study/cifar10

Nothing is computed but intervals; every number comes from `cells.jsonl` in the study's folder, and the sentences from
the same code as the study's report.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from reconv.files import write_atomically
from reconv.report import render_plot
from reconv.report.study_facts import Section, StudyFacts, Table
from reconv.study import Store, study_facts

_ROOT = Path(__file__).parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="folder of the study")
    parser.add_argument("--docs", type=Path, default=_ROOT / "docs", help="where results.md and figures/ lie")
    options = parser.parse_args()
    facts, _, records = study_facts(Store(options.study))
    figures = [_figures(section, options.docs / "figures") for section in facts.sections]
    write_atomically(options.docs / "results.md", page(facts, figures, len(records), options.study))
    print(f"{len(records)} cells; {options.docs / 'results.md'}")


def page(facts: StudyFacts, figures: list[list[tuple[str, str]]], cells: int, folder: Path) -> str:
    """The documentation's page; `figures` are file and title of each section's pictures."""
    where = folder.resolve().relative_to(_ROOT) if folder.resolve().is_relative_to(_ROOT) else folder
    parts = [
        f"# {facts.title}",
        "Written by `python benchmarks/studies/publish.py` from the results in "
        f"[`{where}`](../{where}) ({cells:,} cells); not edited by hand. The same as a page: `reconv report {where}`.",
        facts.description,
        "## What the data says",
        "\n".join(f"- {text}" for text in facts.findings),
        *(_table(table) for table in facts.claims),
        "## What a reviewer asks for",
        "| | |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in facts.review.items()),
    ]
    for section, pictures in zip(facts.sections, figures, strict=True):
        parts += [f"## {section.title}", section.lead]
        parts += [f"![{title}](figures/{name})" for name, title in pictures]
        parts += [_table(table) for table in section.tables]
        if section.agreement:
            m = section.agreement
            head = f"| | {' | '.join(m.names)} |\n|---|{'---:|' * len(m.names)}\n"
            rows = (
                f"| {name} | {' | '.join('' if v is None else f'{v:.2f}' for v in row)} |"
                for name, row in zip(m.names, m.values, strict=True)
            )
            parts += [f"### {m.title}", m.caption, head + "\n".join(rows)]
    if facts.missing:
        parts += ["## Asked, but not computed", "\n".join(f"- {text}" for text in facts.missing)]
    parts += [
        "## How to reproduce",
        "With the weights in `W` and CIFAR-10 in `D`; what is there is kept, what is missing is computed:",
        f"```bash\nreconv study benchmarks/studies/{where.name}.toml --weights-root W --data-root D --jobs 2 "
        f"--save-path {where}\npython benchmarks/studies/publish.py {where}\n```",
        "; ".join(f"{name} {value}" for name, value in facts.versions.items()) + ".",
    ]
    return "\n\n".join(parts) + "\n"


def _table(table: Table) -> str:
    head = f"| | {' | '.join(table.columns)} |\n|---|{'---:|' * len(table.columns)}\n"
    marks = {"better": "**", "worse": "**", "": "", "noise": ""}
    rows = []
    for name, entries in table.rows:
        cells = [f"{e.text}<br>{marks[e.kind]}{e.below}{marks[e.kind]}" if e.below else e.text for e in entries]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return f"### {table.title}\n\n{table.caption}\n\n{head}" + "\n".join(rows)


def _figures(section: Section, folder: Path) -> list[tuple[str, str]]:
    """Write a network's pictures; the names of their files, and their titles."""
    found = []
    for kind, plots in (("macs", section.plots), ("latency", section.speed)):
        for plot in plots:
            words = "-".join("".join(c if c.isalnum() else " " for c in plot.title).split())
            name = f"study-{section.title}-{kind}-{words}.svg"
            titled = replace(plot, title=f"{section.title}, {plot.title}")
            write_atomically(folder / name, render_plot(titled))
            found.append((name, titled.title))
    return found


if __name__ == "__main__":
    main()
