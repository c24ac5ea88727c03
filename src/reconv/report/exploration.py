"""What the page of an exploration shows: plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from reconv.report.plots import Plot


@dataclass(frozen=True)
class ExplorationFacts:
    """How much of a network can be pruned.

    Args:
        title: of the page. plots: one per cost. tables: title, header and rows of each.
        settings: what was asked for. notes: what the reader should know. command: that does it again.
        versions: of software and hardware.
    """

    title: str
    plots: tuple[Plot, ...]
    tables: tuple[tuple[str, Sequence[str], Sequence[Sequence[str]]], ...]
    settings: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    command: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
