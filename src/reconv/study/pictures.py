"""A study's pictures: differences between criteria, accuracy against MACs and measured latency, and the widths kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from reconv.errors import ConfigError
from reconv.report import numbers
from reconv.report.plots import UNPRUNED, Multiples, Plot, Point, Series
from reconv.report.study_facts import Widths
from reconv.study.cell import Network
from reconv.study.labels import (
    RECIPES,
    arm_rank,
    bounds,
    budget_text,
    by_panel,
    is_recipe,
    nth_style,
    panel_title,
    rank,
    setting_title,
    style,
    widths_title,
)
from reconv.study.measures import device_of, latency_key, machine_of, speedup
from reconv.study.store import Store
from reconv.study.tables import Line, Setting, current, summarize

_BATCH = 64  # of the pictured latency
_PICTURED = 0.5  # of the MACs is kept, or the nearest to that; widths of other budgets look alike
_UNIFORM = "uniform"
_MACS = "MACs kept, % of the unpruned network's"


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
    return Series(panel_title(panel), points, number, line=not is_recipe(panel.budget))


def difference_plots(lines: Iterable[Line], split: str, reference: str) -> tuple[Multiples, ...]:
    """Differences to the reference by MACs: a picture per arm with several budgets, in it a small plot per criterion.

    Args:
        lines: of one network. split: whose images accuracies are of.
    """
    by_arm: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        if line.difference is not None:
            by_arm[line.setting.arm].append(line)
    return tuple(
        Multiples(
            arm,
            tuple(_of_criterion(name, by_arm[arm], split, reference) for name in _criteria(by_arm[arm])),
            f"Points of {split} accuracy above or below {reference} at the same budget and scheme; bars: 95 % "
            "intervals, paired by images. A triangle at the edge: farther away than the picture goes.",
        )
        for arm in sorted(by_arm, key=arm_rank)
        if len({line.setting.budget for line in by_arm[arm]}) > 1
    )


def _criteria(lines: Iterable[Line]) -> list[str]:
    return sorted({line.criterion for line in lines}, key=rank)


def _of_criterion(name: str, lines: Sequence[Line], split: str, reference: str) -> Plot:
    """One criterion's differences: a series per way of choosing widths; recipes are unconnected points."""
    ways = {panel: nth_style(number) for number, panel in enumerate(by_panel(lines))}
    series = []
    for panel, members in by_panel(line for line in lines if line.criterion == name).items():
        points = [_difference_point(line) for line in sorted(members, key=lambda line: line.macs)]
        series.append(Series(widths_title(panel), tuple(points), ways[panel], line=not is_recipe(panel.budget)))
    return Plot(name, _MACS, f"difference to {reference}, points of {split} accuracy", tuple(series))


def _difference_point(line: Line) -> Point:
    assert line.difference is not None
    value, low, high = (100 * end for end in (line.difference.value, line.difference.low, line.difference.high))
    text = f"{_label(line)}: {numbers.in_points(line.difference.value)} {bounds(line.difference)}"
    return Point(100 * line.macs, value, low, high, text)


def accuracy_plot(lines: Sequence[Line], base: Mapping[str, Any], split: str, reference: str) -> Plot | None:
    """What a budget costs: accuracy of the reference's networks against MACs, a series per arm; None of one budget.

    Args:
        lines: of one network. base: outcome of the unpruned network. split: whose images accuracies are of.
    """
    points = {line: Point(100 * line.macs, *_accuracy(line), text=_text(line)) for line in _chosen(lines, reference)}
    if len({line.setting.budget for line in points}) < 2:
        return None
    caption = f"Mean over seeds; bars: 95 % intervals. {base['images']:,} {split} images."
    return _plot(_MACS, points, base, split, caption)


def speed_plots(
    lines: Sequence[Line],
    base: Mapping[str, Any],
    latencies: Mapping[str, Any],
    network: Network,
    split: str,
    reference: str,
) -> tuple[Plot, ...]:
    """The same against latency, where it was measured: a picture per kind of device.

    Args:
        latencies: the store's. network: which.
    """
    plots = []
    for device in sorted({device_of(entry) for entry in latencies.values()}):
        chosen = _chosen(lines, reference)
        entries = {line: latencies.get(latency_key(network, line.widths, device), {}) for line in chosen}
        timed = {line: times for line, entry in entries.items() if (times := speedup(entry, _BATCH))}
        if timed:
            points = {
                line: Point(100 / times, *_accuracy(line), text=f"{_text(line)}, {times:.2f} times as fast")
                for line, times in timed.items()
            }
            machines = "; ".join(sorted({machine_of(entries[line]) for line in timed}))
            caption = f"Median of interleaved passes of both networks; {machines}."
            plots.append(
                _plot(
                    f"time of {_BATCH} images, % of the unpruned network's", points, base, split, caption, joined=False
                )
            )
    return tuple(plots)


def _chosen(lines: Sequence[Line], reference: str) -> list[Line]:
    """One criterion's lines, the reference's where it is there: criteria differ by less than budgets do."""
    criteria = _criteria(lines)
    name = reference if reference in criteria else criteria[0]
    return [line for line in lines if line.criterion == name]


def _accuracy(line: Line) -> tuple[float, float, float]:
    return 100 * line.accuracy.value, 100 * line.accuracy.low, 100 * line.accuracy.high


def _text(line: Line) -> str:
    return f"{line.setting.arm}, {_label(line)}: {100 * line.accuracy.value:.2f} %"


def _plot(
    x: str, points: Mapping[Line, Point], base: Mapping[str, Any], split: str, caption: str, *, joined: bool = True
) -> Plot:
    """A color per arm, a series per way of choosing widths, each by its MACs, and the unpruned network."""
    arms = sorted({line.setting.arm for line in points}, key=arm_rank)
    series = []
    for panel, lines in by_panel(points).items():
        rows = tuple(points[line] for line in sorted(lines, key=lambda line: line.macs))
        number = nth_style(arms.index(panel.arm))
        is_other = panel.scheme != _UNIFORM or is_recipe(panel.budget)
        line = joined and not is_recipe(panel.budget)
        series.append(Series(panel_title(panel), rows, number, line=line, hollow=is_other))
    accuracy = 100 * base["accuracy"]
    unpruned = Series("unpruned", (Point(100.0, accuracy, text=f"unpruned: {accuracy:.2f} %"),), UNPRUNED, line=False)
    title = f"Accuracy against {x.partition(',')[0].removesuffix(' kept')}"
    return Plot(title, x, f"top-1 accuracy, % of {split} images", (*series, unpruned), caption)


def _label(line: Line) -> str:
    return f"{line.criterion}, {budget_text(line.setting.budget)}"


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
        kind = RECIPES * is_recipe(setting.budget)
        best.setdefault(replace(setting, budget=kind), setting)
    chosen = [best[kind] for kind in sorted(best)]
    return [setting for setting in chosen if setting.scheme != _UNIFORM or is_recipe(setting.budget)] or chosen
