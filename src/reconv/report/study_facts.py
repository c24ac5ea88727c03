"""What the report of a study tells: plain values, texts already with their units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from reconv.report.plots import COLORS, Forest, Multiples, Plot, Series


@dataclass(frozen=True)
class Entry:
    """One number of a table: its text, what is said below it, and how it is meant.

    Args:
        kind: "" plain, "better" or "worse" than the reference beyond noise, "noise" within it.
    """

    text: str
    below: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """A table with one header row and row headers.

    Args:
        caption: what the numbers are, with unit and origin.
    """

    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Entry, ...]], ...]


@dataclass(frozen=True)
class Claim:
    """What a network's cells say of its criteria: the same differences as pictures, one an arm, and as a table."""

    pictures: tuple[Forest, ...]
    table: Table


@dataclass(frozen=True)
class Matrix:
    """Numbers between -1 and 1 for every pair of names; None where there is none."""

    title: str
    caption: str
    names: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]

    @staticmethod
    def text(value: float | None) -> str:
        """A number as it is written: two digits, a minus sign, no negative zero."""
        return "" if value is None else f"{value:z.2f}".replace("-", "−")


@dataclass(frozen=True)
class Widths:
    """Kept output channels, layer by layer, of several plans.

    Args:
        layers: names. before: channels of each. rows: name of the plan -> channels kept of each.
        styles: name of the plan -> color, as of a series; others have one after the other.
    """

    title: str
    caption: str
    layers: tuple[str, ...]
    before: tuple[int, ...]
    rows: Mapping[str, tuple[int, ...]]
    styles: Mapping[str, int] = field(default_factory=dict)

    def style(self, name: str) -> int:
        """The color of a plan."""
        return self.styles.get(name, list(self.rows).index(name) % COLORS)


@dataclass(frozen=True)
class Section:
    """One network: its pictures and tables.

    Args:
        costs: accuracy against MACs and against latency. differences: to the reference, a picture per arm.
    """

    title: str
    lead: str
    costs: tuple[Plot, ...] = ()
    differences: tuple[Multiples, ...] = ()
    tables: tuple[Table, ...] = ()
    agreement: Matrix | None = None
    widths: tuple[Widths, ...] = ()


def legend_of(plots: Iterable[Plot | Multiples]) -> list[Series]:
    """One series of each name: the legend that pictures share."""
    return list({series.name: series for plot in plots for series in plot.series}.values())


@dataclass(frozen=True)
class StudyFacts:
    """Everything the report of a study shows.

    Args:
        findings: plain sentences, each with its interval. claims: what they rest on, a network each.
        arms: what was done after the cut, by name. review: what a careful reviewer asks for, by name.
        sections: a network each.
        missing: what was asked and is not computed, and why. versions: of software and hardware, by name.
    """

    title: str
    description: str
    findings: tuple[str, ...]
    review: Mapping[str, str]
    claims: tuple[Claim, ...] = ()
    sections: tuple[Section, ...] = ()
    arms: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    command: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
