"""What to remove: budgets, plans, and `choose`.

Every group of tied channels gives a queue of removals, lowest score first. A scheme says how the queues are merged
into one; a budget says how far the merged queue is followed. A longer prefix never costs more, so bisection finds the
shortest one that meets the budget.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from reconv.cost import total_macs, total_parameters
from reconv.errors import ArtifactError, BudgetError, ConfigError, unknown_name
from reconv.graph.channels import ChannelGraph, ChannelGroup, Mask
from reconv.graph.labels import Plane
from reconv.saliency import Saliency

Scores: TypeAlias = Mapping[str, npt.NDArray[np.float64]]
Scheme: TypeAlias = Literal["uniform", "global"]
SCHEMES = ("uniform", "global")
STREAM = "residual stream, left whole (coupled=True or --coupled cuts it)"


@dataclass(frozen=True)
class Budget:
    """What may be left, at most. A share of the original (0 < x < 1), or an absolute number (x >= 1).

    Args:
        macs: multiply-adds of convolutions and linear layers for one image.
        params: parameters of the model.
        channels: channels, of those that may be removed at all.
    """

    macs: float | None = None
    params: float | None = None
    channels: float | None = None

    def __post_init__(self) -> None:
        limits = self.limits
        if not limits:
            raise ConfigError("budget: nothing is limited; give macs=, params= or channels=, such as macs=0.5")
        for name, value in limits.items():
            whole = value >= 1 and float(value).is_integer()
            if not (math.isfinite(value) and (0 < value < 1 or whole)):
                raise ConfigError(
                    f"budget: {name}={value:g}; a share lies between 0 and 1 and an absolute number is whole; "
                    f"give {name}=0.5 to keep half"
                )

    @property
    def limits(self) -> dict[str, float]:
        pairs = {"macs": self.macs, "params": self.params, "channels": self.channels}
        return {name: value for name, value in pairs.items() if value is not None}

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Budget:
        """From `name=value` texts, as the command line takes them."""
        values: dict[str, float] = {}
        for text in (part for whole in texts for part in whole.split(",")):
            name, _, value = (piece.strip() for piece in text.partition("="))
            if name not in ("macs", "params", "channels"):
                raise unknown_name("budget", name, ("macs", "params", "channels"))
            try:
                values[name] = float(value)
            except ValueError:
                raise ConfigError(f"budget: {text!r}; write name=number, such as {name}=0.5") from None
        return cls(**values)

    def __str__(self) -> str:
        return ", ".join(f"{name}={value:g}" for name, value in self.limits.items())


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
    return _finished(graph, rows, *texts)


def _check_kept(row: GroupPlan, group: ChannelGroup) -> None:
    if sorted(set(row.kept)) != list(row.kept) or not row.kept or not 0 <= row.kept[0] <= row.kept[-1] < row.size:
        raise ArtifactError(f"plan: {row.name} keeps {row.kept}; positions ascend within 0..{row.size - 1}")
    removed = np.setdiff1d(np.arange(row.size), row.kept)
    stuck = [group.reasons[int(i)] for i in removed if int(i) in group.reasons]
    if stuck:
        raise ArtifactError(f"plan: {row.name} loses channels that have to stay: {stuck[0]}; make a new plan")
    if len({int((group.cells[removed] == cell).sum()) for cell in np.unique(group.cells)}) > 1:
        raise ArtifactError(f"plan: {row.name} does not lose its channels in equal numbers by group; make a new plan")


def choose(
    graph: ChannelGraph,
    saliency: Saliency,
    budget: Budget,
    *,
    scheme: Scheme = "uniform",
    coupled: bool = False,
    keep_lowest: bool = False,
) -> Plan:
    """Choose channels to remove until the budget is met.

    Args:
        graph, saliency: of the same model.
        budget: what may be left at most. It is never exceeded; what is left is the next smaller step.
        scheme: "uniform" takes the same share of every group; "global" takes the lowest scores of all groups,
            each group's scores divided by their mean.
        coupled: cut residual streams too.
        keep_lowest: remove the highest scores instead (a control).

    Returns:
        The plan; every group keeps at least one channel (one of every cell where a grouped operator asks for it).

    Raises:
        BudgetError: it cannot be met; says what is possible. UnknownNameError: no such scheme.
    """
    if scheme not in SCHEMES:
        raise unknown_name("scheme", scheme, SCHEMES)
    scores = unit_scores(graph, saliency)
    queue: list[tuple[float, Plane]] = []
    why: dict[str, str] = {}
    for group in graph.groups:
        found = scores.get(group.name)
        why[group.name] = _left_alone(group, found, coupled)
        if why[group.name] or found is None:
            continue
        steps = group.steps(_order(found, keep_lowest))
        rank = np.arange(1, len(steps) + 1) / len(steps)
        if scheme == "global":
            level = found / max(float(np.abs(found).mean()), 1e-300) * (-1 if keep_lowest else 1)
            # Removals stay in their group's order: a step's key is the highest so far.
            rank = np.maximum.accumulate([level[step].mean() for step in steps])
        # The last step stays: no layer vanishes.
        queue += [(key, group.units[step]) for key, step in zip(rank[:-1].tolist(), steps[:-1], strict=True)]
    queue.sort(key=lambda item: item[0])
    removed_at = np.full(graph.classes, len(queue), dtype=np.int64)
    for place, (_, units) in enumerate(queue):
        removed_at[units] = place
    length = _shortest_prefix(graph, budget, removed_at, len(queue), coupled)
    rows = [_row(group, removed_at[group.units] >= length, scores, why[group.name]) for group in graph.groups]
    return _finished(graph, rows, f"keep {budget}", _described(saliency, keep_lowest), scheme)


def choose_widths(
    graph: ChannelGraph, saliency: Saliency, widths: Mapping[str, int], *, keep_lowest: bool = False
) -> Plan:
    """Choose channels so that the layers named keep so many output channels, and all others all.

    Args:
        graph, saliency: of the same model.
        widths: layer name -> channels kept, such as a recipe gives. A group of tied channels is named by any of
            its layers.
        keep_lowest: remove the highest scores instead (a control).

    Raises:
        UnknownNameError: a layer that the model has not. ConfigError: a width outside 1..channels.
        BudgetError: a width that cannot be had, because channels are frozen or must go in equal numbers.
    """
    group_of = {layer: group for group in graph.groups for layer in group.producers}
    asked: dict[str, int] = {}
    for layer, width in widths.items():
        if layer not in group_of:
            raise unknown_name("layer", layer, group_of)
        group = group_of[layer]
        if not 1 <= width <= group.size:
            raise ConfigError(f"{layer}: {width} channels asked for; it has {group.size}, give 1 to {group.size}")
        if asked.setdefault(group.name, width) != width:
            raise ConfigError(
                f"{layer}: tied to {group.name}, which is to keep {asked[group.name]}, not {width} channels"
            )
    scores = unit_scores(graph, saliency)
    rows = []
    for group in graph.groups:
        keep = np.ones(group.size, dtype=np.bool_)
        removed = group.size - asked.get(group.name, group.size)
        if removed:
            rows.append(_row(group, _narrowed(group, scores, removed, keep_lowest), scores, ""))
        else:
            rows.append(_row(group, keep, scores, "" if group.name in asked else group.reason or "not asked for"))
    return _finished(graph, rows, f"{len(widths)} widths", _described(saliency, keep_lowest), "recipe")


def _narrowed(group: ChannelGroup, scores: Scores, removed: int, keep_lowest: bool) -> Mask:
    if group.name not in scores:
        raise BudgetError(f"{group.name}: the criterion gives it no score; choose another criterion")
    steps = group.steps(_order(scores[group.name], keep_lowest))
    cells = len(np.unique(group.cells))
    most = len(steps) - (len(steps) * cells == group.size)  # of a group that is all free, something stays
    if removed % cells or removed // cells > most:
        raise BudgetError(
            f"{group.name}: cannot remove {removed} of {group.size} channels; "
            f"{int(group.free.sum())} may go, {cells} at a time{': ' + group.reason if group.reason else ''}"
        )
    keep = np.ones(group.size, dtype=np.bool_)
    for step in steps[: removed // cells]:
        keep[step] = False
    return keep


def unit_scores(graph: ChannelGraph, saliency: Saliency) -> dict[str, npt.NDArray[np.float64]]:
    """One score for every unit of every group that the criterion scores.

    A group of one layer takes the layer's scores as they are. In a group of several, each layer's scores are
    divided by their mean, and a unit's score is its mean over the layers.
    """
    result = {}
    for group in graph.groups:
        names = group.producers if saliency.direction == "forward" else group.consumers
        members = [graph.layer(name) for name in names if name in saliency.values]
        total, count = np.zeros(graph.classes), np.zeros(graph.classes)
        for layer in members:
            values = saliency.values[layer.name].detach().cpu().double().numpy()
            classes = layer.outputs if saliency.direction == "forward" else layer.inputs.ravel()
            if len(members) > 1:
                values = values / max(float(np.abs(values).mean()), 1e-300)
            np.add.at(total, classes, values)
            np.add.at(count, classes, 1)
        units = group.units
        if members and (count[units][group.free] > 0).all():
            result[group.name] = total[units] / np.maximum(count[units], 1)
    return result


def _left_alone(group: ChannelGroup, scores: npt.NDArray[np.float64] | None, coupled: bool) -> str:
    if group.reason:
        return group.reason
    if group.stream and not coupled:
        return STREAM
    if scores is None:
        return "the criterion gives it no score"
    return "" if len(group.steps(np.arange(group.size))) > 1 else "a single channel is left to go"


def _order(scores: npt.NDArray[np.float64], keep_lowest: bool) -> Plane:
    return np.argsort(-scores if keep_lowest else scores, kind="stable")


def _shortest_prefix(graph: ChannelGraph, budget: Budget, removed_at: Plane, length: int, coupled: bool) -> int:
    """How many removals of the queue meet every limit of the budget."""
    removable = removed_at < length
    measures: dict[str, Callable[[Mask], int]] = {
        "macs": lambda keep: total_macs(graph.layers, keep),
        "params": lambda keep: total_parameters(graph, keep),
        "channels": lambda keep: int((keep & removable).sum()),
    }
    everything = np.ones(graph.classes, dtype=np.bool_)
    needed = 0
    for name, value in budget.limits.items():
        measure = measures[name]
        whole = measure(everything)
        limit = value * whole if value < 1 else value
        least = measure(removed_at >= length)
        if least > limit:
            floor = math.ceil(1000 * least / max(whole, 1)) / 1000
            streams = not coupled and any(group.stream for group in graph.groups)
            raise BudgetError(
                f"budget: {name}={value:g} asks for at most {limit:,.0f} of {whole:,}, but {least:,} have to stay; "
                f"ask for {name}={floor:.3f} or more{', or cut residual streams too (coupled)' if streams else ''}"
            )
        low, high = needed, length
        while low < high:
            middle = (low + high) // 2
            if measure(removed_at >= middle) <= limit:
                high = middle
            else:
                low = middle + 1
        needed = low
    return needed


def _row(group: ChannelGroup, keep: Mask, scores: Scores, why: str) -> GroupPlan:
    found = scores.get(group.name)
    return GroupPlan(
        name=group.name,
        layers=group.producers,
        size=group.size,
        kept=tuple(np.flatnonzero(keep).tolist()),
        scores=() if found is None else tuple(found.tolist()),
        why=why,
    )


def _described(saliency: Saliency, keep_lowest: bool) -> str:
    words = [saliency.criterion]
    words += ["backward"] if saliency.direction == "backward" else []
    words += ["reversed"] if keep_lowest else []
    return ", ".join(words)


def _finished(graph: ChannelGraph, rows: Iterable[GroupPlan], asked: str, criterion: str, scheme: str) -> Plan:
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
