"""What a repair did, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconv.html_table import Bar, html_table


@dataclass(frozen=True)
class LayerRepair:
    """One layer's error before and after, as a share of the energy of the original's signal.

    Args:
        layer: its name.
        before: with the weights that the cut left, on what the layer now receives.
        after: with the new ones.
        rows: positions that it was solved on.
        jointly: the layer in front that was refined with it, if any.
    """

    layer: str
    before: float
    after: float
    rows: int
    jointly: str | None = None


@dataclass(frozen=True)
class RepairReport:
    """What was repaired.

    Args:
        layers: those that were solved, in order. unrepaired: those that could not be, and why.

    `print(report)` shows every layer; a `repr` sums up.
    """

    layers: tuple[LayerRepair, ...]
    unrepaired: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        worst = max(self.layers, key=lambda row: row.after, default=None)
        shown = "" if worst is None else f", largest error left {worst.after:.2%} ({worst.layer})"
        return f"RepairReport({len(self.layers)} layers solved, {len(self.unrepaired)} unrepaired{shown})"

    def __str__(self) -> str:
        width = max((len(row.layer) for row in self.layers), default=0)
        lines = [f"{len(self.layers)} layers solved; error before and after, of the signal's energy"]
        for row in self.layers:
            note = f"  jointly with {row.jointly}" if row.jointly else ""
            lines.append(f"  {row.layer:<{width}}  {row.before:9.2%} -> {row.after:8.2%}{note}")
        lines += [f"  {name}: unrepaired: {why}" for name, why in self.unrepaired.items()]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = [
            (row.layer, f"{row.before:.2%}", Bar(row.after, f"{row.after:.2%}"), row.jointly) for row in self.layers
        ]
        header = ("layer", "error before", "error after", "refined with")
        notes = [f"{name}: unrepaired: {why}" for name, why in self.unrepaired.items()]
        return html_table(f"{len(self.layers)} layers solved; errors of the signal's energy", header, rows, notes)
