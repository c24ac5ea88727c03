"""What one picture or table is about: what was done after the cut, and how it was decided where to cut."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from reconv.study.tables import Line
from reconv.study.words import arm_rank


@dataclass(frozen=True)
class Panel:
    """All of a setting but its network and budget.

    Args:
        arm: what was done after the cut. scheme, coupled: how much of each layer went.
    """

    arm: str
    scheme: str
    coupled: bool

    @property
    def order(self) -> tuple[int, str, bool, str, bool]:
        """Panels by it: arms in the order of their table, uniform widths before others."""
        return arm_rank(self.arm), self.arm, self.scheme != "uniform", self.scheme, self.coupled

    def __str__(self) -> str:
        """In words, as a title."""
        words = {"uniform": "the same share of every layer", "allocated": "widths by predicted error"}
        return f"{self.arm}; {words.get(self.scheme, self.scheme)}{', residual streams too' * self.coupled}"


def by_panel(lines: Iterable[Line]) -> dict[Panel, list[Line]]:
    """Lines by what they are shown in, in order."""
    found: dict[Panel, list[Line]] = defaultdict(list)
    for line in lines:
        found[Panel(line.setting.arm, line.setting.scheme, line.setting.coupled)].append(line)
    return dict(sorted(found.items(), key=lambda item: item[0].order))
