"""What an exploration finds, as values: sensitivities, a frontier for each cost, and points that were measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from reconv.budget import Cost
from reconv.errors import unknown_name
from reconv.frontier.fit import Fit
from reconv.html_table import Bar, html_table
from reconv.report.numbers import percent


@dataclass(frozen=True)
class Sensitivity:
    """What the channels of one group are worth.

    Args:
        group: name. layers: whose output channels they are. channels: that it has.
        errors: predicted, with a quarter, half and three quarters of those gone that may go, alone.
        loss: predicted with half of them gone; None: beyond what was measured.
        may_go: the share of its channels that may go alone before a point is lost, as predicted.
    """

    group: str
    layers: tuple[str, ...]
    channels: int
    errors: tuple[float, float, float]
    loss: float | None
    may_go: float


@dataclass(frozen=True)
class FrontierPoint:
    """The plan with the least predicted error at a cost.

    Args:
        share: of the cost that may be left. cost: (before, after), in its unit; a latency is predicted.
        macs, params: shares that are left. error: predicted.
        loss: predicted, as a fraction; None: beyond the largest error that was measured.
    """

    share: float
    cost: tuple[float, float]
    macs: float
    params: float
    error: float
    loss: float | None


@dataclass(frozen=True)
class MeasuredPoint:
    """A plan of the frontier, pruned, repaired, and measured on images that were not used for that.

    Args:
        share: of the first cost that may be left. macs, params: shares that are left.
        latency: microseconds (before, after), interleaved, where latency is among the costs.
        error: predicted by the curves. loss: measured, as a fraction. low, high: of its two-sided 95 % interval.
        predicted: the loss that the other points predict; None for the point with the largest error.
        value: of what is measured, after.
    """

    share: float
    macs: float
    params: float
    error: float
    loss: float
    low: float
    high: float
    value: float
    predicted: float | None = None
    latency: tuple[float, float] | None = None


@dataclass(frozen=True, repr=False)
class Exploration:
    """How much of a network can be pruned, and what that loses.

    Args:
        quality: what is lost: "top-1", "identical predictions" without labels, or a metric's name.
        before: its value of the original network. images: that points were measured on; calibration: that curves and
            repairs were made from.
        frontiers: by cost, in the order asked for: plans of least predicted error, the largest first.
        measured: points of the first cost's frontier. sensitivities: of the groups, the most sensitive first.
        settings: what was asked for. notes: what the user should know. higher_is_better: of the metric.

    A predicted loss is read off a monotone line through the measured points (`fit`), by predicted error; beyond the
    largest error that was measured nothing is predicted.
    """

    quality: str
    before: float
    images: int
    calibration: int
    frontiers: Mapping[str, tuple[FrontierPoint, ...]]
    measured: tuple[MeasuredPoint, ...]
    sensitivities: tuple[Sensitivity, ...]
    settings: Mapping[str, str]
    notes: tuple[str, ...] = ()
    higher_is_better: bool = True

    @property
    def fit(self) -> Fit:
        """From predicted error to loss."""
        return Fit(tuple(point.error for point in self.measured), tuple(point.loss for point in self.measured))

    def frontier(self, cost: str = "") -> tuple[FrontierPoint, ...]:
        """The frontier of a cost; of the first one asked for without a name.

        Raises:
            UnknownNameError: none of that cost.
        """
        cost = cost or next(iter(self.frontiers))
        if cost not in self.frontiers:
            raise unknown_name("frontier", cost, self.frontiers)
        return self.frontiers[cost]

    def smallest(self, loss: float, cost: str = "") -> FrontierPoint | None:
        """The smallest network of a frontier that loses at most so many points, as predicted; None: none does.

        Args:
            loss: in points. cost: of the frontier.
        """
        good = [p for p in self.frontier(cost) if p.loss is not None and 100 * p.loss <= loss]
        return min(good, key=lambda p: p.share, default=None)

    def after(self, loss: float) -> float:
        """The value of a network that loses so much."""
        return self.before - loss if self.higher_is_better else self.before + loss

    def left(self, point: MeasuredPoint, cost: str) -> float | None:
        """Which share of a cost a measured network has; None where that was not measured."""
        if cost == "latency":
            return None if point.latency is None else point.latency[1] / point.latency[0]
        shares = {"macs": point.macs, "params": point.params, next(iter(self.frontiers)): point.share}
        return shares.get(cost)

    def to_json(self) -> dict[str, Any]:
        """As a JSON object; losses are fractions."""
        return asdict(self)

    def __repr__(self) -> str:
        point = self.smallest(1.0)
        name = next(iter(self.frontiers))
        found = "no point of the frontier" if point is None else f"{name}={point.share:g}"
        return f"Exploration(predicted to lose at most one point of {self.quality}: {found})"

    def __str__(self) -> str:
        return "\n".join(_lines(self))

    def _repr_html_(self) -> str:
        parts = [
            html_table(title, header, [[cell if i else str(cell) for i, cell in enumerate(row)] for row in rows])
            for title, header, rows in (frontier_table(self, name) for name in self.frontiers)
        ]
        most = max((row.errors[1] for row in self.sensitivities), default=0.0) or 1.0
        bars = [
            (row.group, row.channels, Bar(row.errors[1] / most, f"{row.errors[1]:.3g}")) for row in self.sensitivities
        ]
        return "".join(
            [*parts, html_table("Sensitivities", ("group", "channels", "error without half"), bars, self.notes)]
        )


LOSSES = ("loss, predicted", "by the other points", "loss, measured")
BEYOND = "beyond what was measured"
Table = tuple[str, tuple[str, ...], list[tuple[str, ...]]]


def frontier_table(found: Exploration, cost: str) -> Table:
    """Title, header and rows of a cost's frontier; predictions and measurements have columns of their own."""
    unit, first = Cost.registry[cost].unit, next(iter(found.frontiers))
    measured = {point.share: point for point in found.measured} if cost == first else {}
    header: tuple[str, ...] = ("at most", str(Cost.registry[cost]), "MACs", "parameters", *LOSSES)
    rows: list[tuple[str, ...]] = []
    for point in found.frontiers[cost]:
        real = measured.get(point.share)
        rows.append(
            (
                f"{100 * point.share:.0f} %",
                unit.text(point.cost[1]),
                percent(point.macs),
                percent(point.params),
                BEYOND if point.loss is None else _points(point.loss),
                "" if real is None or real.predicted is None else _points(real.predicted),
                "" if real is None else f"{_points(real.loss)} [{_points(real.low)}, {_points(real.high)}]",
            )
        )
    return f"{found.quality} lost, in points, against {Cost.registry[cost]}", header, rows


def sensitivity_table(found: Exploration) -> Table:
    """Title, header and rows of the groups, the most sensitive first."""
    header: tuple[str, ...] = (
        "channels of",
        "channels",
        "error without half",
        "loss, predicted",
        "may go for 1 point",
    )
    rows: list[tuple[str, ...]] = [
        (
            row.group,
            str(row.channels),
            f"{row.errors[1]:.3g}",
            BEYOND if row.loss is None else _points(row.loss),
            f"{100 * row.may_go:.0f} %",
        )
        for row in found.sensitivities
    ]
    return "Sensitivities, the most sensitive first", header, rows


def _points(loss: float) -> str:
    """A loss as points, with its sign where it is a gain."""
    return f"{100 * loss:.2f}".replace("-", "−")


def _lines(found: Exploration) -> Sequence[str]:
    value = percent(found.before) if 0 <= found.before <= 1 else f"{found.before:.4g}"
    lines = [f"{found.quality} {value} before; lost, in points, on {found.images:,} images"]
    for name in found.frontiers:
        title, header, rows = frontier_table(found, name)
        widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
        lines += [title, "  ".join(cell.rjust(w) for cell, w in zip(header, widths, strict=True))]
        lines += ["  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    return [*lines, *(f"note: {note}" for note in found.notes)]
