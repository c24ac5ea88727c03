"""A study's pictures: accuracy against MACs and against measured latency, one per panel, and the widths kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from reconv.errors import ConfigError
from reconv.report.plots import UNPRUNED, Plot, Point, Series
from reconv.report.study_facts import Widths
from reconv.study.cell import Network
from reconv.study.labels import budget_text, by_panel, nth_style, panel_title, rank, setting_title, style
from reconv.study.measures import device_of, latency_key, machine_of, speedup
from reconv.study.peers import is_peer
from reconv.study.store import Store
from reconv.study.tables import Line, Setting, current, summarize

_BATCH = 64  # of the pictured latency
_PICTURED = 0.5  # of the MACs is kept, or the nearest to that; widths of other budgets look alike
_UNIFORM = "uniform"


def points_of_network(store: Store, fingerprint: str) -> tuple[Series, ...]:
    """A study's points of one network, by its weights: one series per arm and scheme, of the best criterion's mean.

    Raises:
        ArtifactError: no study. ConfigError: one of other images than a run is tested on.
    """
    study = store.requested
    if study.split != "test":
        raise ConfigError(
            f'{store.path}: counts {study.split} images, and a run its test images; give a study with split = "test"'
        )
    names = {network.name for network in study.networks if network.fingerprint == fingerprint}
    summary = summarize(current(store.records(), study.cells()), study.reference)
    panels = by_panel(line for line in summary.lines if line.setting.network in names)
    return tuple(_best(panel, lines, nth_style(number)) for number, (panel, lines) in enumerate(panels.items()))


def _best(panel: Setting, lines: Sequence[Line], number: int) -> Series:
    """Of each budget the criterion with the highest accuracy."""
    best = {line.setting.budget: line for line in sorted(lines, key=lambda line: line.accuracy.value)}
    points = tuple(
        Point(100 * line.macs, 100 * line.accuracy.value, text=f"{panel_title(panel)}, {line.criterion}")
        for line in sorted(best.values(), key=lambda line: line.macs)
    )
    return Series(panel_title(panel), points, number)


def accuracy_plots(panels: Mapping[Setting, Sequence[Line]], base: Mapping[str, Any], split: str) -> tuple[Plot, ...]:
    """Accuracy against MACs.

    Args:
        panels: lines of one network. base: outcome of the unpruned network. split: whose images they are of.
    """

    def point(line: Line) -> Point:
        value, low, high = (100 * end for end in (line.accuracy.value, line.accuracy.low, line.accuracy.high))
        return Point(100 * line.macs, value, low, high, f"{_label(line)}: {value:.2f} %")

    caption = (
        "Mean over seeds; bars: 95 % bootstrap intervals of each accuracy by itself (differences are known better). "
        f"{base['images']:,} {split} images."
    )
    return tuple(
        _plot(panel, "MACs kept", {line: point(line) for line in lines}, base, split, caption)
        for panel, lines in _pictured(panels).items()
    )


def speed_plots(
    panels: Mapping[Setting, Sequence[Line]],
    base: Mapping[str, Any],
    latencies: Mapping[str, Any],
    network: Network,
    split: str,
) -> tuple[Plot, ...]:
    """Accuracy against latency, where it was measured: a picture per panel and kind of device.

    Args:
        panels: lines of one network. base: outcome of the unpruned network. latencies: the store's.
        network: which. split: whose images accuracies are of.
    """
    plots = []
    for panel, lines in _pictured(panels).items():
        if not _says_more_than_others(panel, panels):
            continue
        for device in sorted({device_of(entry) for entry in latencies.values()}):
            entries = {line: latencies.get(latency_key(network, line.widths, device), {}) for line in lines}
            timed = {line: times for line, entry in entries.items() if (times := speedup(entry, _BATCH))}
            if timed:
                points = {
                    line: Point(
                        100 / times, 100 * line.accuracy.value, text=f"{_label(line)}: {times:.2f} times as fast"
                    )
                    for line, times in timed.items()
                }
                machines = "; ".join(sorted({machine_of(entries[line]) for line in timed}))
                caption = f"Median of interleaved passes of both networks; {machines}."
                plots.append(_plot(panel, f"time of {_BATCH} images", points, base, split, caption))
    return tuple(plots)


def _plot(
    panel: Setting, x: str, points: Mapping[Line, Point], base: Mapping[str, Any], split: str, caption: str
) -> Plot:
    """A series per criterion, in their order, each by its MACs, and the unpruned network."""
    series: dict[str, list[Point]] = defaultdict(list)
    for line in sorted(points, key=lambda line: (rank(line.criterion), line.macs)):
        series[line.criterion].append(points[line])
    accuracy = 100 * base["accuracy"]
    unpruned = Point(100.0, accuracy, text=f"unpruned: {accuracy:.2f} %")
    return Plot(
        panel_title(panel),
        f"{x}, % of the unpruned network's",
        f"top-1 accuracy, % of {split} images",
        (
            *(Series(name, tuple(rows), style(name), hollow=is_peer(name)) for name, rows in series.items()),
            Series("unpruned", (unpruned,), UNPRUNED, line=False),
        ),
        caption,
    )


def _label(line: Line) -> str:
    return f"{line.criterion}, {budget_text(line.setting.budget)}"


def _pictured(panels: Mapping[Setting, Sequence[Line]]) -> dict[Setting, Sequence[Line]]:
    """Panels of several budgets; where none has them, those of several points: of others, tables say as much."""
    several = {panel: lines for panel, lines in panels.items() if len({line.setting.budget for line in lines}) > 1}
    return several or {panel: lines for panel, lines in panels.items() if len(lines) > 1}


def _says_more_than_others(panel: Setting, panels: Collection[Setting]) -> bool:
    """Networks that are only pruned are as fast as repaired ones and near chance: pictured where there is no other."""
    return panel.arm != "pruned only" or all(other.arm == "pruned only" for other in panels)


def kept_widths(lines: Sequence[Line], base: Mapping[str, Any], described: Mapping[str, Any]) -> tuple[Widths, ...]:
    """A picture for each scheme that chose widths, beside the same share of every layer; that alone where none did.

    Args:
        lines: of one network. base: outcome of the unpruned network. described: `describe_networks`' entry of it.
    """
    layers, before = described.get("layers", ()), base["widths"]
    if len(layers) != len(before):
        return ()
    settings: dict[Setting, dict[str, Line]] = defaultdict(dict)
    for line in lines:
        if len(line.widths) == len(layers):
            settings[replace(line.setting, arm="")].setdefault(line.criterion, line)
    pictures = []
    for setting in _nearest_to_half(settings):
        names = setting.layers(described["cut"], described.get("streams", ()))
        prunable = [i for i, name in enumerate(layers) if name in names]
        uniform = settings.get(replace(setting, scheme=_UNIFORM), {})
        rows = {_UNIFORM: next(iter(uniform.values()))} if uniform else {}
        if setting.scheme != _UNIFORM:
            rows |= {criterion: settings[setting][criterion] for criterion in sorted(settings[setting], key=rank)}
        pictures.append(
            Widths(
                setting_title(setting),
                "Share of each layer's output channels that is kept, in the layers that may be pruned.",
                tuple(layers[i] for i in prunable),
                tuple(before[i] for i in prunable),
                {name: tuple(line.widths[i] for i in prunable) for name, line in rows.items()},
                {name: UNPRUNED if name == _UNIFORM else style(name) for name in rows},
            )
        )
    return tuple(pictures)


def _nearest_to_half(settings: Mapping[Setting, Mapping[str, Line]]) -> list[Setting]:
    """Of each scheme, the setting whose networks keep nearest to half of the MACs; uniform ones where no other chose.

    A recipe says all widths, whoever chooses the channels.
    """

    def distance(setting: Setting) -> float:
        return min(abs(line.macs - _PICTURED) for line in settings[setting].values())

    best: dict[Setting, Setting] = {}
    for setting in sorted(settings, key=distance):
        kind = "cfg" if setting.budget.startswith("cfg") else ""
        best.setdefault(replace(setting, budget=kind), setting)
    chosen = [best[kind] for kind in sorted(best)]
    return [setting for setting in chosen if setting.scheme != _UNIFORM or setting.budget.startswith("cfg")] or chosen
