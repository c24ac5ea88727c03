"""A study's pictures: accuracy against MACs and against measured latency, a panel each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from reconv.errors import ConfigError
from reconv.report.plots import WHOLE, Plot, Point, Series
from reconv.study.cell import Network
from reconv.study.measures import device_of, latency_key, machine_of, speedup
from reconv.study.panels import Panel, by_panel
from reconv.study.store import Store
from reconv.study.tables import Line, current, summarize
from reconv.study.words import budget_text, is_peer, nth_style, rank, style


def points_of_network(store: Store, fingerprint: str) -> tuple[Series, ...]:
    """A study's points of one network, by its weights: one series an arm and scheme, of the best criterion's mean.

    Raises:
        ArtifactError: no study. ConfigError: one on other images than a run is tested on.
    """
    study = store.asked
    if study.split != "test":
        raise ConfigError(
            f'{store.path}: counts {study.split} images, and a run its test images; give a study with split = "test"'
        )
    names = {network.name for network in study.networks if network.fingerprint == fingerprint}
    summary = summarize(current(store.records(), study.cells()), study.reference)
    panels = by_panel(line for line in summary.lines if line.setting.network in names)
    return tuple(_best(panel, lines, nth_style(number)) for number, (panel, lines) in enumerate(panels.items()))


def _best(panel: Panel, lines: Sequence[Line], of_style: int) -> Series:
    """Of each budget the criterion that does best."""
    best: dict[str, Line] = {}
    for line in sorted(lines, key=lambda line: line.accuracy.value):
        best[line.setting.budget] = line
    points = tuple(
        Point(100 * line.macs, 100 * line.accuracy.value, text=f"{panel}, {line.criterion}")
        for line in sorted(best.values(), key=lambda line: line.macs)
    )
    return Series(str(panel), points, of_style)


def accuracy_plots(panels: Mapping[Panel, Sequence[Line]], base: Mapping[str, Any], split: str) -> tuple[Plot, ...]:
    """Accuracy against MACs.

    Args:
        panels: lines of one network. base: outcome of the whole network. split: whose images they are of.
    """
    return tuple(_accuracy_plot(panel, lines, base, split) for panel, lines in _pictured(panels).items())


def _accuracy_plot(panel: Panel, lines: Sequence[Line], base: Mapping[str, Any], split: str) -> Plot:
    series = [
        _series(
            criterion,
            [
                Point(
                    100 * line.macs,
                    100 * line.accuracy.value,
                    100 * line.accuracy.low,
                    100 * line.accuracy.high,
                    f"{criterion}, {budget_text(line.setting.budget)}: {100 * line.accuracy.value:.2f} %",
                )
                for line in mine
            ],
        )
        for criterion, mine in _by_criterion(lines).items()
    ]
    return Plot(
        str(panel),
        "MACs left, % of the whole network's",
        f"top-1 accuracy, % of {split} images",
        (*series, _whole(base)),
        f"Mean over seeds; bars: 95 % bootstrap intervals of each accuracy by itself (differences are known better). "
        f"{base['images']:,} {split} images.",
    )


def speed_plots(
    panels: Mapping[Panel, Sequence[Line]],
    base: Mapping[str, Any],
    known: Mapping[str, Any],
    network: Network,
    split: str,
) -> tuple[Plot, ...]:
    """Accuracy against latency, where it was measured: a picture a panel and kind of device.

    Args:
        panels: lines of one network. base: outcome of the whole network. known: the store's latencies.
        network: which. split: whose images accuracies are of.
    """
    devices = sorted({device_of(entry) for entry in known.values()})
    plots = (
        _speed_plot(panel, lines, base, known, network, device, split)
        for panel, lines in _pictured(panels).items()
        if _says_more_than_others(panel, panels)
        for device in devices
    )
    return tuple(plot for plot in plots if plot is not None)


def _pictured(panels: Mapping[Panel, Sequence[Line]]) -> dict[Panel, Sequence[Line]]:
    """Panels of several budgets; where none has them, those of several points: of those, tables say as much."""
    several = {panel: lines for panel, lines in panels.items() if len({line.setting.budget for line in lines}) > 1}
    return several or {panel: lines for panel, lines in panels.items() if len(lines) > 1}


def _says_more_than_others(panel: Panel, panels: Collection[Panel]) -> bool:
    """As cut, networks are as fast as mended ones and near chance: a picture only where there is no other."""
    return panel.arm != "as cut" or all(other.arm == "as cut" for other in panels)


def _speed_plot(
    panel: Panel,
    lines: Sequence[Line],
    base: Mapping[str, Any],
    known: Mapping[str, Any],
    network: Network,
    device: str,
    split: str,
    batch: int = 64,
) -> Plot | None:
    series, machines = [], set()
    for criterion, mine in _by_criterion(lines).items():
        points = []
        for line in mine:
            entry = known.get(latency_key(network, line.widths, device), {})
            times = speedup(entry, batch)
            if times:
                machines.add(machine_of(entry))
                text = f"{criterion}, {budget_text(line.setting.budget)}: {times:.2f} times as fast"
                points.append(Point(100 / times, 100 * line.accuracy.value, text=text))
        if points:
            series.append(_series(criterion, points))
    if not series:
        return None
    return Plot(
        str(panel),
        f"time of {batch} images, % of the whole network's",
        f"top-1 accuracy, % of {split} images",
        (*series, _whole(base)),
        f"Median of passes in which both networks take turns; {'; '.join(sorted(machines))}.",
    )


def _by_criterion(lines: Sequence[Line]) -> dict[str, list[Line]]:
    """In the order of criteria, each by its MACs."""
    found: dict[str, list[Line]] = defaultdict(list)
    for line in sorted(lines, key=lambda line: (rank(line.criterion), line.macs)):
        found[line.criterion].append(line)
    return found


def _series(criterion: str, points: Sequence[Point]) -> Series:
    return Series(criterion, tuple(points), style(criterion), hollow=is_peer(criterion))


def _whole(base: Mapping[str, Any]) -> Series:
    accuracy = 100 * base["accuracy"]
    return Series(
        "whole network", (Point(100.0, accuracy, text=f"whole network: {accuracy:.2f} %"),), WHOLE, line=False
    )
