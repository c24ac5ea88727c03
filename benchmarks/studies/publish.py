"""From a study's results to what the documentation shows of it: `docs/results.md` and its pictures.

    python benchmarks/studies/publish.py benchmarks/results/study/cifar10

Nothing is computed but intervals; every number comes from `cells.jsonl` in the study's folder, and the sentences from
the same code as the study's report.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from reconv.files import write_atomically
from reconv.report import render_forest, render_multiples, render_plot
from reconv.report.study_facts import Claim, Section, StudyFacts, Table
from reconv.study import Store, study_facts

_ROOT = Path(__file__).parents[2]
_TREE = "https://github.com/reconv/reconv/tree/main"  # what lies outside the site


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="folder of the study")
    parser.add_argument("--docs", type=Path, default=_ROOT / "docs", help="where results.md and figures/ lie")
    options = parser.parse_args()
    facts, _, records = study_facts(Store(options.study))
    folder = options.docs / "figures"
    for old in folder.glob("study-*.svg"):  # of arms that this study no longer has
        old.unlink()
    claims = [_pictures_of(claim, folder) for claim in facts.claims]
    figures = [_figures(section, folder) for section in facts.sections]
    write_atomically(options.docs / "results.md", page(facts, claims, figures, len(records), options.study))
    print(f"{len(records)} cells; {options.docs / 'results.md'}")


Pictures: TypeAlias = list[tuple[str, str]]  # file and title of each


def page(facts: StudyFacts, claims: list[Pictures], figures: list[Pictures], cells: int, folder: Path) -> str:
    """The documentation's page, with the pictures of each claim and of each section."""
    where = folder.resolve().relative_to(_ROOT) if folder.resolve().is_relative_to(_ROOT) else folder
    parts = [
        f"# {facts.title}",
        "Written by `python benchmarks/studies/publish.py` from the results in "
        f"[`{where}`]({_TREE}/{where}) ({cells:,} cells); not edited by hand. "
        f"The same as a page: `reconv report {where}`.",
        facts.description,
        "## What the data says",
        "\n".join(f"- {text}" for text in facts.findings),
        *(part for claim, found in zip(facts.claims, claims, strict=True) for part in _claim(claim, found)),
        "## What was done after pruning",
        _named(facts.arms),
        "## What a reviewer asks for",
        _named(facts.review),
    ]
    for section, pictures in zip(facts.sections, figures, strict=True):
        parts += [f"## {section.title}", section.lead]
        parts += _shown(pictures)
        parts += [_table(table) for table in section.tables]
        if section.agreement:
            m = section.agreement
            head = f"| | {' | '.join(m.names)} |\n|---|{'---:|' * len(m.names)}\n"
            rows = (f"| {name} | {' | '.join(map(m.text, row))} |" for name, row in zip(m.names, m.values, strict=True))
            parts += [f"### {m.title}", m.caption, head + "\n".join(rows)]
    if facts.missing:
        parts += ["## Requested, but not computed", "\n".join(f"- {text}" for text in facts.missing)]
    parts += [
        "## How to reproduce",
        "With the weights in `W` and CIFAR-10 in `D`; what is there is kept, what is missing is computed:",
        f"```bash\nreconv study benchmarks/studies/{where.name}.toml --weights-root W --data-root D --jobs 2 "
        f"--save-path {where}\npython benchmarks/studies/publish.py {where}\n```",
        "; ".join(f"{name} {value}" for name, value in facts.versions.items()) + ".",
    ]
    return "\n\n".join(parts) + "\n"


def _named(values: Mapping[str, str]) -> str:
    return "| | |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in values.items())


def _shown(pictures: Pictures) -> list[str]:
    return [f"![{title}](figures/{name})" for name, title in pictures]


def _claim(claim: Claim, pictures: Pictures) -> list[str]:
    return [f"### {claim.table.title}", *_shown(pictures), _rows(claim.table)]


def _table(table: Table) -> str:
    return f"### {table.title}\n\n{_rows(table)}"


def _rows(table: Table) -> str:
    head = f"| | {' | '.join(table.columns)} |\n|---|{'---:|' * len(table.columns)}\n"
    marks = {"better": "**", "worse": "**", "": "", "noise": ""}
    rows = []
    for name, entries in table.rows:
        cells = [f"{e.text}<br>{marks[e.kind]}{e.below}{marks[e.kind]}" if e.below else e.text for e in entries]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return f"{table.caption}\n\n{head}" + "\n".join(rows)


def _pictures_of(claim: Claim, folder: Path) -> Pictures:
    """Write a network's differences, a picture an arm."""
    found = []
    for forest in claim.pictures:
        title = f"{claim.table.title}, {forest.title}"
        name = f"study-{_plain(title)}.svg"
        write_atomically(folder / name, render_forest(replace(forest, title=title)))
        found.append((name, title))
    return found


def _figures(section: Section, folder: Path) -> Pictures:
    """Write a network's pictures; the names of their files, and their titles."""
    found = []
    for plot in section.costs:
        titled = replace(plot, title=f"{section.title}, {plot.title}")
        name = f"study-{_plain(titled.title)}.svg"
        write_atomically(folder / name, render_plot(titled))
        found.append((name, titled.title))
    for multiples in section.differences:
        small = replace(multiples, title=f"{section.title}, budget by budget, {multiples.title}")
        name = f"study-{_plain(small.title)}.svg"
        write_atomically(folder / name, render_multiples(small))
        found.append((name, small.title))
    return found


def _plain(title: str) -> str:
    """A title as part of a file's name."""
    return "-".join("".join(c if c.isalnum() else " " for c in title).split())


if __name__ == "__main__":
    main()
