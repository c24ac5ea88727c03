"""A plan: which channels go, group by group, why the others stay, and what the network costs before and after."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from reconv.cost import file_size, predicted_memory, total_macs, total_parameters
from reconv.errors import ArtifactError
from reconv.graph.channels import ChannelGraph, ChannelGroup, Mask


@dataclass(frozen=True)
class GroupPlan:
    """What becomes of one group of tied channels.

    Args:
        name: the group's. layers: whose output channels they are.
        size: channels before. kept: positions that stay, ascending.
        scores: the score of every channel, for looking at; () where there is none.
        why: why more stay than were asked for, or nothing was asked; "" where it was done as asked.
        asked: how many would stay, were nothing in the way; None where nothing was asked.
    """

    name: str
    layers: tuple[str, ...]
    size: int
    kept: tuple[int, ...]
    scores: tuple[float, ...] = field(default=(), repr=False)
    why: str = ""
    asked: int | None = None


@dataclass(frozen=True, eq=False)
class Plan:
    """Which channels go, group by group, and what the network costs before and after.

    Args:
        graph: of the model that it was made for; it also fits another checkpoint of the same architecture.
        groups: one row for each of the graph's groups.
        asked: the budget or recipe in words. criterion, scheme: how it was chosen.
        macs, params: (before, after), predicted; exact.
        notes: what the user should know of how it came about.
        latency: (before, after) in microseconds, where it was asked for.
    """

    graph: ChannelGraph = field(repr=False)
    groups: tuple[GroupPlan, ...]
    asked: str
    criterion: str
    scheme: str
    macs: tuple[int, int]
    params: tuple[int, int]
    notes: tuple[str, ...] = ()
    latency: tuple[float, float] | None = None

    @cached_property
    def memory(self) -> tuple[int, int] | None:
        """Bytes of live activations at the widest moment of a forward pass (before, after), predicted; exact.

        None where two passes of the model run different operators, so that nothing can be predicted.
        """
        before, after = predicted_memory(self.graph), predicted_memory(self.graph, self.keep)
        return None if before is None or after is None else (before, after)

    @cached_property
    def size(self) -> tuple[int, int]:
        """Bytes of the saved weights (before, after), predicted; exact."""
        return file_size(self.graph), file_size(self.graph, self.keep)

    @property
    def keep(self) -> Mask:
        """Which channel classes stay, [classes]."""
        keep = np.ones(self.graph.classes, dtype=np.bool_)
        for row, group in zip(self.groups, self.graph.groups, strict=True):
            keep[group.units] = False
            keep[group.units[list(row.kept)]] = True
        return keep

    def to_json(self) -> dict[str, Any]:
        return {
            "asked": self.asked,
            "criterion": self.criterion,
            "scheme": self.scheme,
            "macs": list(self.macs),
            "params": list(self.params),
            "memory": None if self.memory is None else list(self.memory),
            "size": list(self.size),
            "latency": None if self.latency is None else list(self.latency),
            "notes": list(self.notes),
            "groups": [
                {
                    "name": g.name,
                    "layers": list(g.layers),
                    "size": g.size,
                    "kept": list(g.kept),
                    "why": g.why,
                    "asked": g.asked,
                }
                for g in self.groups
            ],
        }

    def __str__(self) -> str:
        return shown(self)


def plan_from_json(graph: ChannelGraph, data: Mapping[str, Any]) -> Plan:
    """A saved plan, for a graph of the same architecture.

    Raises:
        ArtifactError: the plan is of another architecture, or not a plan.
    """
    try:
        rows = [
            GroupPlan(
                str(g["name"]),
                tuple(g["layers"]),
                int(g["size"]),
                tuple(map(int, g["kept"])),
                why=str(g["why"]),
                asked=None if g.get("asked") is None else int(g["asked"]),
            )
            for g in data["groups"]
        ]
        texts = (str(data["asked"]), str(data["criterion"]), str(data["scheme"]))
        notes = tuple(map(str, data.get("notes", ())))
        latency = data.get("latency")
        seen = None if latency is None else (float(latency[0]), float(latency[1]))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ArtifactError(f"plan: {error} is missing or of the wrong kind; give a plan that reconv saved") from None
    ours = [(g.name, g.size) for g in graph.groups]
    theirs = [(g.name, g.size) for g in rows]
    if ours != theirs:
        first = next((f"{a} against {b}" for a, b in zip(ours, theirs, strict=False) if a != b), "their number")
        raise ArtifactError(
            f"plan: it is of another architecture (first difference: {first}); trace the model it is for"
        )
    for row, group in zip(rows, graph.groups, strict=True):
        _check_kept(row, group)
    return finished(graph, rows, *texts, notes=notes, latency=seen)


def _check_kept(row: GroupPlan, group: ChannelGroup) -> None:
    if sorted(set(row.kept)) != list(row.kept) or not row.kept or not 0 <= row.kept[0] <= row.kept[-1] < row.size:
        raise ArtifactError(f"plan: {row.name} keeps {row.kept}; positions ascend within 0..{row.size - 1}")
    removed = np.setdiff1d(np.arange(row.size), row.kept)
    stuck = [group.reasons[int(i)] for i in removed if int(i) in group.reasons]
    if stuck:
        raise ArtifactError(f"plan: {row.name} loses channels that have to stay: {stuck[0]}; make a new plan")
    if len({int((group.cells[removed] == cell).sum()) for cell in np.unique(group.cells)}) > 1:
        raise ArtifactError(f"plan: {row.name} does not lose its channels in equal numbers by group; make a new plan")


def finished(
    graph: ChannelGraph,
    rows: Iterable[GroupPlan],
    asked: str,
    criterion: str,
    scheme: str,
    *,
    notes: tuple[str, ...] = (),
    latency: tuple[float, float] | None = None,
) -> Plan:
    """A plan of these rows, with its costs."""
    draft = Plan(graph, tuple(rows), asked, criterion, scheme, (0, 0), (0, 0), notes, latency)
    keep = draft.keep
    return replace(
        draft,
        macs=(total_macs(graph.layers), total_macs(graph.layers, keep)),
        params=(total_parameters(graph), total_parameters(graph, keep)),
    )


def plan_keeping(graph: ChannelGraph, keep: Mask, asked: str = "") -> Plan:
    """The plan that leaves these channel classes of every group."""
    rows = [planned_row(group, keep[group.units], {}, "") for group in graph.groups]
    return finished(graph, rows, asked, "", "")


def planned_row(
    group: ChannelGroup,
    keep: Mask,
    scores: Mapping[str, npt.NDArray[np.float64]],
    why: str,
    asked: int | None = None,
) -> GroupPlan:
    """The row of a group of which `keep` stays."""
    found = scores.get(group.name)
    return GroupPlan(
        name=group.name,
        layers=group.producers,
        size=group.size,
        kept=tuple(np.flatnonzero(keep).tolist()),
        scores=() if found is None else tuple(found.tolist()),
        why=why,
        asked=asked,
    )


def shown(plan: Plan) -> str:
    """A plan as text: what it costs, and every group with what was asked, what was given, and why."""

    def line(name: str, pair: tuple[float, float], unit: str = "") -> str:
        before, after = pair
        return f"  {name:<11} {before:>15,.0f} -> {after:>15,.0f}{unit} ({after / max(before, 1):.1%})"

    lines = [
        f"{plan.asked} by {plan.criterion} ({plan.scheme})",
        line("MACs", plan.macs),
        line("parameters", plan.params),
        *([line("memory", plan.memory, " bytes")] if plan.memory else []),
        line("file", plan.size, " bytes"),
        *([line("latency", plan.latency, " µs")] if plan.latency else []),
        *(f"  note: {note}" for note in (*plan.notes, *plan.graph.notes)),
    ]
    for row in plan.groups:
        kept = len(row.kept)
        asked = f" (asked {row.asked})" if row.asked not in (None, kept) else ""
        why = f"  {row.why}" if row.why else ""
        lines.append(f"  {names_shown(row.layers)}: {row.size} -> {kept}{asked}{why}")
    return "\n".join(lines)


def names_shown(names: Sequence[str]) -> str:
    """Dotted names; those that differ in one number only are drawn together, as in `layer1.{0,1,2}.conv2`."""
    shapes: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        parts = name.split(".")
        numbers = [i for i, part in enumerate(parts) if part.isdigit()]
        place = numbers[-1] if numbers else -1
        key = tuple("{}" if i == place else part for i, part in enumerate(parts))
        shapes.setdefault(key, []).append(parts[place] if numbers else "")
    return ", ".join(
        ".".join(key).replace("{}", found[0] if len(found) == 1 else f"{{{','.join(found)}}}")
        for key, found in shapes.items()
    )
