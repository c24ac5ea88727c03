"""A plan: which channels go, group by group, why the others stay, and what the network costs before and after."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from reconv.cost import total_macs, total_parameters
from reconv.errors import ArtifactError
from reconv.graph.channels import ChannelGraph, ChannelGroup, Mask


@dataclass(frozen=True)
class GroupPlan:
    """What becomes of one group of tied channels.

    Args:
        name: the group's. layers: whose output channels they are.
        size: channels before. kept: positions that stay, ascending.
        scores: the score of every channel, for looking at; () where there is none.
        why: why nothing was removed; "" where something was, or nothing was asked.
    """

    name: str
    layers: tuple[str, ...]
    size: int
    kept: tuple[int, ...]
    scores: tuple[float, ...] = field(default=(), repr=False)
    why: str = ""


@dataclass(frozen=True, eq=False)
class Plan:
    """Which channels go, group by group, and what the network costs before and after.

    Args:
        graph: of the model that it was made for; it also fits another checkpoint of the same architecture.
        groups: one row for each of the graph's groups.
        asked: the budget or recipe in words. criterion, scheme: how it was chosen.
        macs, params: (before, after), predicted; exact.
    """

    graph: ChannelGraph = field(repr=False)
    groups: tuple[GroupPlan, ...]
    asked: str
    criterion: str
    scheme: str
    macs: tuple[int, int]
    params: tuple[int, int]

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
            "groups": [
                {"name": g.name, "layers": list(g.layers), "size": g.size, "kept": list(g.kept), "why": g.why}
                for g in self.groups
            ],
        }

    def __str__(self) -> str:
        lines = [
            f"{self.asked} by {self.criterion} ({self.scheme}): "
            f"{self.macs[0]:,} -> {self.macs[1]:,} MACs ({self.macs[1] / self.macs[0]:.1%}), "
            f"{self.params[0]:,} -> {self.params[1]:,} parameters ({self.params[1] / self.params[0]:.1%})"
        ]
        for g in self.groups:
            also = f" (+{len(g.layers) - 1})" if len(g.layers) > 1 else ""
            why = f"  {g.why}" if g.why else ""
            lines.append(f"  {g.name}{also}: {g.size} -> {len(g.kept)}{why}")
        return "\n".join(lines)


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
            )
            for g in data["groups"]
        ]
        texts = (str(data["asked"]), str(data["criterion"]), str(data["scheme"]))
    except (KeyError, TypeError, ValueError) as error:
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
    return finished(graph, rows, *texts)


def _check_kept(row: GroupPlan, group: ChannelGroup) -> None:
    if sorted(set(row.kept)) != list(row.kept) or not row.kept or not 0 <= row.kept[0] <= row.kept[-1] < row.size:
        raise ArtifactError(f"plan: {row.name} keeps {row.kept}; positions ascend within 0..{row.size - 1}")
    removed = np.setdiff1d(np.arange(row.size), row.kept)
    stuck = [group.reasons[int(i)] for i in removed if int(i) in group.reasons]
    if stuck:
        raise ArtifactError(f"plan: {row.name} loses channels that have to stay: {stuck[0]}; make a new plan")
    if len({int((group.cells[removed] == cell).sum()) for cell in np.unique(group.cells)}) > 1:
        raise ArtifactError(f"plan: {row.name} does not lose its channels in equal numbers by group; make a new plan")


def finished(graph: ChannelGraph, rows: Iterable[GroupPlan], asked: str, criterion: str, scheme: str) -> Plan:
    """A plan of these rows, with its costs."""
    everything = np.ones(graph.classes, dtype=np.bool_)
    draft = Plan(graph, tuple(rows), asked, criterion, scheme, (0, 0), (0, 0))
    return Plan(
        graph,
        draft.groups,
        asked,
        criterion,
        scheme,
        macs=(total_macs(graph.layers), total_macs(graph.layers, draft.keep)),
        params=(total_parameters(graph, everything), total_parameters(graph, draft.keep)),
    )


def planned_row(group: ChannelGroup, keep: Mask, scores: Mapping[str, npt.NDArray[np.float64]], why: str) -> GroupPlan:
    """The row of a group of which `keep` stays."""
    found = scores.get(group.name)
    return GroupPlan(
        name=group.name,
        layers=group.producers,
        size=group.size,
        kept=tuple(np.flatnonzero(keep).tolist()),
        scores=() if found is None else tuple(found.tolist()),
        why=why,
    )
