"""A plan: which channels go, group by group, why the others stay, and what the network costs before and after."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from reconv.budget import Cost
from reconv.cost import file_size, predicted_memory, total_macs, total_parameters
from reconv.errors import ArtifactError
from reconv.graph.branch import Branch
from reconv.graph.branches import with_branches
from reconv.graph.channels import ChannelGraph, ChannelGroup, Mask
from reconv.html_table import Bar, html_table
from reconv.text import names_shown


@dataclass(frozen=True, repr=False)
class GroupPlan:
    """What becomes of one group of tied channels.

    Args:
        name: the group's. layers: whose output channels they are.
        size: channels before. kept: positions that stay, ascending.
        scores: the score of every channel, for looking at; () where there is none.
        why: why more stay than were requested, or nothing was; "" where it was done as requested.
        requested: how many would stay, were nothing in the way; None where nothing was requested.
    """

    name: str
    layers: tuple[str, ...]
    size: int
    kept: tuple[int, ...]
    scores: tuple[float, ...] = field(default=(), repr=False)
    why: str = ""
    requested: int | None = None

    def __repr__(self) -> str:
        return f"GroupPlan({self.name!r}, {self.size} -> {len(self.kept)} channels)"


@dataclass(frozen=True, eq=False, repr=False)
class Plan:
    """Which channels go, group by group, and what the network costs before and after.

    Args:
        graph: of the model that it was made for; it also fits another checkpoint of the same architecture.
        groups: one row for each of the graph's groups.
        request: the budget or recipe in words. criterion, scheme: how it was chosen.
        costs: by kind of budget (before, after): MACs and parameters, exact, and what its budget limits besides.
        notes: what the user should know of how it came about.
        removed: names of the residual branches that go as a whole.

    Example:
        >>> import torch, reconv
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 1), torch.nn.Conv2d(8, 8, 1))
        >>> graph = reconv.trace(model, torch.zeros(1, 3, 4, 4))
        >>> plan = reconv.choose(graph, reconv.score(graph, "l1"), reconv.Budget(macs=0.5))
        >>> plan.macs
        (1408, 704)
    """

    graph: ChannelGraph
    groups: tuple[GroupPlan, ...]
    request: str
    criterion: str
    scheme: str
    costs: Mapping[str, tuple[float, float]]
    notes: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    @property
    def macs(self) -> tuple[int, int]:
        """Multiply-adds for one image (before, after), predicted; exact."""
        before, after = self.costs["macs"]
        return int(before), int(after)

    @property
    def params(self) -> tuple[int, int]:
        """Parameters (before, after), predicted; exact."""
        before, after = self.costs["params"]
        return int(before), int(after)

    @property
    def latency(self) -> tuple[float, float] | None:
        """Microseconds (before, after), as measured; None where no latency was requested."""
        return self.costs.get("latency")

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
        for branch in self.branches:
            keep[branch.classes] = False
        return keep

    @property
    def branches(self) -> tuple[Branch, ...]:
        """The residual branches that go as a whole."""
        return tuple(branch for branch in self.graph.branches or () if branch.name in self.removed)

    def all_costs(self) -> dict[str, tuple[float, float]]:
        """Everything that is known of what the network costs, by kind of budget (before, after)."""
        costs = {"macs": self.macs, "params": self.params, "memory": self.memory, "size": self.size, **self.costs}
        return {name: pair for name, pair in costs.items() if pair is not None}

    def to_json(self) -> dict[str, Any]:
        return {
            "request": self.request,
            "criterion": self.criterion,
            "scheme": self.scheme,
            **{name: list(pair) for name, pair in self.all_costs().items()},
            "notes": list(self.notes),
            **({"removed": list(self.removed)} if self.removed else {}),
            "groups": [
                {
                    "name": g.name,
                    "layers": list(g.layers),
                    "size": g.size,
                    "kept": list(g.kept),
                    "why": g.why,
                    "requested": g.requested,
                }
                for g in self.groups
            ],
        }

    def __repr__(self) -> str:
        cut = f"{sum(len(row.kept) < row.size for row in self.groups)} of {len(self.groups)} groups"
        costs = ", ".join(f"{_label(name)} {old:,.0f} -> {new:,.0f}" for name, (old, new) in self.costs.items())
        branches = f", {len(self.removed)} branch{'es' * (len(self.removed) != 1)} removed" if self.removed else ""
        return f"Plan({self.request} by {self.criterion} ({self.scheme}): {cut} cut{branches}; {costs})"

    def __str__(self) -> str:
        return describe(self)

    def _repr_html_(self) -> str:
        costs = (f"{_label(name)} {after / (before or 1):.1%}" for name, (before, after) in self.costs.items())
        title = f"{self.request} by {self.criterion} ({self.scheme}); left: {', '.join(costs)}"
        rows = [
            (names_shown(row.layers), Bar(len(row.kept) / row.size, f"{len(row.kept)} of {row.size}"), row.why)
            for row in self.groups
        ]
        return html_table(title, ("layers", "channels kept", "why more stay"), rows, self.notes)


def _label(name: str) -> str:
    return str(Cost.registry[name]) if name in Cost.registry else name


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
                requested=None if (requested := g.get("requested", g.get("asked"))) is None else int(requested),
            )
            for g in data["groups"]
        ]
        request = str(data["request"] if "request" in data else data["asked"])  # as plans before 0.2 called it
        texts = (request, str(data["criterion"]), str(data["scheme"]))
        notes = tuple(map(str, data.get("notes", ())))
        removed = tuple(map(str, data.get("removed", ())))
        pairs = {cost.name: data.get(cost.name) for cost in Cost.registry}
        costs = {name: (float(pair[0]), float(pair[1])) for name, pair in pairs.items() if pair is not None}
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ArtifactError(f"plan: {error} is missing or of the wrong kind; give a plan that reconv saved") from None
    ours = [(g.name, g.size) for g in graph.groups]
    theirs = [(g.name, g.size) for g in rows]
    if ours != theirs:
        first = next((f"{a} against {b}" for a, b in zip(ours, theirs, strict=False) if a != b), "their number")
        raise ArtifactError(
            f"plan: it is of another architecture (first difference: {first}); trace the model it is for"
        )
    graph = with_branches(graph) if removed else graph
    gone = _groups_removed(graph, removed)
    for row, group in zip(rows, graph.groups, strict=True):
        if row.name not in gone or row.kept:
            _check_kept(row, group)
    costs = {name: pair for name, pair in costs.items() if name not in ("memory", "size")}
    return finish_plan(graph, rows, *texts, notes=notes, costs=costs, removed=removed)


def _groups_removed(graph: ChannelGraph, removed: tuple[str, ...]) -> set[str]:
    """The groups of channels that go with these branches."""
    branches = {branch.name: branch for branch in graph.branches or ()}
    for name in removed:
        if name not in branches or branches[name].reason:
            why = f": {branches[name].reason}" if name in branches else ", which this architecture lacks"
            raise ArtifactError(f"plan: it removes the branch {name}{why}; make a new plan")
    return {group for name in removed for group in branches[name].groups}


def _check_kept(row: GroupPlan, group: ChannelGroup) -> None:
    if sorted(set(row.kept)) != list(row.kept) or not row.kept or not 0 <= row.kept[0] <= row.kept[-1] < row.size:
        raise ArtifactError(f"plan: {row.name} keeps {row.kept}; positions ascend within 0..{row.size - 1}")
    removed = np.setdiff1d(np.arange(row.size), row.kept)
    stuck = [group.reasons[int(i)] for i in removed if int(i) in group.reasons]
    if stuck:
        raise ArtifactError(f"plan: {row.name} loses channels that have to stay: {stuck[0]}; make a new plan")
    if len({int((group.cells[removed] == cell).sum()) for cell in np.unique(group.cells)}) > 1:
        raise ArtifactError(f"plan: {row.name} does not lose its channels in equal numbers by group; make a new plan")


def finish_plan(
    graph: ChannelGraph,
    rows: Iterable[GroupPlan],
    request: str,
    criterion: str,
    scheme: str,
    *,
    notes: tuple[str, ...] = (),
    costs: Mapping[str, tuple[float, float]] | None = None,
    removed: tuple[str, ...] = (),
) -> Plan:
    """A plan of these rows, with its MACs and parameters, and these other costs."""
    draft = Plan(graph, tuple(rows), request, criterion, scheme, {}, notes, removed)
    keep = draft.keep
    macs = total_macs(graph), total_macs(graph, keep)
    params = total_parameters(graph), total_parameters(graph, keep)
    return replace(draft, costs={**(costs or {}), "macs": macs, "params": params})


def plan_keeping(graph: ChannelGraph, keep: Mask, request: str = "") -> Plan:
    """The plan that leaves these channel classes of every group."""
    rows = [planned_row(group, keep[group.units], {}, "") for group in graph.groups]
    removed = tuple(branch.name for branch in graph.removed(keep))
    return finish_plan(graph, rows, request, "", "", removed=removed)


def planned_row(
    group: ChannelGroup,
    keep: Mask,
    scores: Mapping[str, npt.NDArray[np.float64]],
    why: str,
    requested: int | None = None,
) -> GroupPlan:
    """The row of a group of which `keep` stays."""
    values = scores.get(group.name)
    return GroupPlan(
        name=group.name,
        layers=group.producers,
        size=group.size,
        kept=tuple(np.flatnonzero(keep).tolist()),
        scores=() if values is None else tuple(values.tolist()),
        why=why,
        requested=requested,
    )


def describe(plan: Plan) -> str:
    """A plan as text: what it costs, and every group with what was requested, what was given, and why."""
    lines = [f"{plan.request} by {plan.criterion} ({plan.scheme})"]
    for name, (before, after) in plan.all_costs().items():
        unit = f" {Cost.registry[name].unit.symbol}".rstrip() if name in Cost.registry else ""
        lines.append(f"  {_label(name):<11} {before:>15,.0f} -> {after:>15,.0f}{unit} ({after / (before or 1):.1%})")
    lines += [f"  note: {note}" for note in (*plan.notes, *plan.graph.notes)]
    lines += [f"  branches removed: {names_shown(plan.removed)}"] if plan.removed else []
    for row in plan.groups:
        kept = len(row.kept)
        requested = f" (requested {row.requested})" if row.requested not in (None, kept) else ""
        why = f"  {row.why}" if row.why else ""
        lines.append(f"  {names_shown(row.layers)}: {row.size} -> {kept}{requested}{why}")
    return "\n".join(lines)
