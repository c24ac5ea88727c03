"""From a study's records to tables: one row per cell, and a summary over seeds with differences and their intervals."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias

from reconv.significance import Floats, Interval, Replicates, interval, mean_interval, spread
from reconv.study.cell import Cell
from reconv.study.record import unpack
from reconv.study.shared import Shared, shared_options

Record: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, order=True)
class Setting(Shared):
    """What a difference is taken within: all of a cell but its criterion and seed."""

    network: str
    arm: str
    scheme: str
    budget: str


Groups: TypeAlias = dict[tuple[Setting, str], list[Record]]  # by setting and criterion: a record per seed


@dataclass(frozen=True)
class Line:
    """One criterion in one setting, over its seeds.

    Args:
        criterion, setting: what it is. cells: their hashes. seeds: theirs.
        accuracy: mean fraction of images, and its interval. sd: over seeds, None of one.
        difference: to the reference criterion in the same setting; None for itself or where that is missing.
        macs, parameters: share that is kept, mean over seeds.
        widths: output channels of every layer, of the first seed.
    """

    setting: Setting
    criterion: str
    cells: tuple[str, ...]
    seeds: tuple[int, ...]
    accuracy: Interval
    sd: float | None
    difference: Interval | None
    macs: float
    parameters: float
    widths: tuple[int, ...]


@dataclass(frozen=True)
class Pooled:
    """One criterion against the reference, the mean over budgets and schemes.

    Args:
        network, arm, criterion: which. difference: in fractions of images. settings: how many it is the mean of.
        wins, losses: settings whose own interval lies above, or below, zero.
    """

    network: str
    arm: str
    criterion: str
    difference: Interval
    settings: int
    wins: int
    losses: int


@dataclass(frozen=True)
class Standing:
    """One criterion against the best of its network and arm, the mean over the settings that both have.

    Args:
        network, arm, criterion: which. best: the criterion with the highest mean among those tried in most settings.
        difference: to the best one, in fractions of images. settings: how many it is the mean of.
    """

    network: str
    arm: str
    criterion: str
    best: str
    difference: Interval
    settings: int


@dataclass(frozen=True)
class Control:
    """One line against the control in its setting: the same budget and scheme, trained from random weights.

    Args:
        setting, criterion: the line's. arm, accuracy: the control's. difference: the line's less the control's.
    """

    setting: Setting
    criterion: str
    arm: str
    accuracy: Interval
    difference: Interval


@dataclass(frozen=True)
class Summary:
    """All lines, and what they come to."""

    lines: tuple[Line, ...]
    pooled: tuple[Pooled, ...]
    base: Mapping[str, Record]
    controls: tuple[Control, ...] = ()
    standings: tuple[Standing, ...] = ()


def current(records: Mapping[str, Record], cells: Iterable[Cell]) -> list[Record]:
    """The records of these cells, as far as they are there, with today's names of networks and arms."""
    return [
        {**records[cell.key], "name": cell.network.name, "arm": cell.arm.name} for cell in cells if cell.key in records
    ]


def tidy(records: Iterable[Record]) -> list[dict[str, Any]]:
    """One flat row per cell and seed."""
    rows = []
    for record in records:
        cell, outcome, made = record["cell"], record["outcome"], record["made"]
        protocol = cell["arm"].get("protocol") or {}
        rows.append(
            {
                "network": record["name"],
                "data_set": cell["network"]["data_set"],
                "split": cell["split"],
                "criterion": cell["criterion"],
                "budget": cell["budget"],
                "scheme": cell["scheme"],
                **shared_options(cell),
                "arm": record["arm"],
                "epochs": protocol.get("epochs", 0),
                "calibration_images": calibration_images(record),
                "seed": cell["seed"],
                "accuracy": outcome["accuracy"],
                "images": outcome["images"],
                "loss": outcome["loss"],
                "macs_before": outcome["macs"][0],
                "macs_after": outcome["macs"][1],
                "parameters_before": outcome["parameters"][0],
                "parameters_after": outcome["parameters"][1],
                "processor_seconds": round(made["processor_seconds"], 1),
                "device": made["device"],
                "torch": made["versions"]["torch"],
                "reconv": made["versions"]["reconv"],
                "key": record["key"],
            }
        )
    order = ("network", "arm", "scheme", "budget", "criterion", "seed")
    return sorted(rows, key=lambda row: tuple(row[key] for key in order))


def calibration_images(record: Record) -> int:
    """How many images the steps of an arm looked at: as many as it asks for, or all that there are; 0 where none do."""
    arm = record["cell"]["arm"]
    requested = arm.get("images", 0) if arm["mend"] != "nothing" else 0
    return int(record["outcome"].get("images_for_mending", requested))


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV."""
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()


def summarize(records: Sequence[Record], reference: str) -> Summary:
    """Means over seeds, differences to the reference criterion, and their 95 % intervals."""
    unpruned = (record for record in records if not record["cell"]["criterion"])
    base = {record["name"]: record for record in sorted(unpruned, key=lambda record: str(record["name"]))}
    cut = [record for record in records if record["cell"]["criterion"]]
    groups: Groups = defaultdict(list)
    for record in cut:
        cell = record["cell"]
        setting = Setting(record["name"], record["arm"], cell["scheme"], cell["budget"], **shared_options(cell))
        groups[setting, cell["criterion"]].append(record)
    groups = dict(sorted(groups.items(), key=lambda item: item[0]))
    replicates = _replicates(cut)
    lines, parts = [], defaultdict(list)
    for members in groups.values():  # all of them first, since seeds are paired by their order
        members.sort(key=lambda record: int(record["cell"]["seed"]))
    for (setting, criterion), members in groups.items():
        resampled = replicates[setting.network]
        keys = tuple(str(record["key"]) for record in members)
        difference: tuple[float, Floats] | None = None
        other = groups.get((setting, reference))
        if other and criterion != reference:
            difference = _difference(resampled, members, other)
            parts[setting.network, setting.arm, criterion].append(difference)
        outcomes = [record["outcome"] for record in members]
        lines.append(
            Line(
                setting,
                criterion,
                keys,
                tuple(int(record["cell"]["seed"]) for record in members),
                resampled.accuracy(keys),
                spread([outcome["accuracy"] for outcome in outcomes]),
                None if difference is None else interval(*difference),
                _mean(outcome["macs"][1] / outcome["macs"][0] for outcome in outcomes),
                _mean(outcome["parameters"][1] / outcome["parameters"][0] for outcome in outcomes),
                tuple(outcomes[0]["widths"]),
            )
        )
    pooled = []
    for of_line, differences in parts.items():
        intervals = [interval(*difference) for difference in differences]
        wins, losses = sum(one.low > 0 for one in intervals), sum(one.high < 0 for one in intervals)
        pooled.append(Pooled(*of_line, mean_interval(differences), len(intervals), wins, losses))
    standings = tuple(_standings(groups, replicates, pooled, reference))
    return Summary(tuple(lines), tuple(pooled), base, tuple(_controls(groups, replicates)), standings)


def _standings(
    groups: Groups, replicates: Mapping[str, Replicates], pooled: Sequence[Pooled], reference: str
) -> Iterator[Standing]:
    """Every criterion against the best of its network and arm; nothing where there is no reference to rank them by."""
    members: dict[tuple[str, str], dict[str, dict[Setting, Sequence[Record]]]] = defaultdict(lambda: defaultdict(dict))
    for (setting, criterion), records in groups.items():
        members[setting.network, setting.arm][criterion][setting] = records
    for (network, arm), by_criterion in members.items():
        means = {row.criterion: row.difference.value for row in pooled if (row.network, row.arm) == (network, arm)}
        if not means:
            continue
        means[reference] = 0.0
        most = max(len(by_criterion[name]) for name in means)
        best = max((name for name in means if len(by_criterion[name]) == most), key=means.__getitem__)
        for name in sorted(means.keys() - {best}):
            common = sorted(by_criterion[name].keys() & by_criterion[best].keys())
            pairs = ((by_criterion[name][setting], by_criterion[best][setting]) for setting in common)
            parts = [_difference(replicates[network], *pair) for pair in pairs]
            if parts:
                yield Standing(network, arm, name, best, mean_interval(parts), len(parts))


def _controls(groups: Groups, replicates: Mapping[str, Replicates]) -> Iterator[Control]:
    """Every line beside each control of the same network, scheme and budget: its own criterion's, if there is one."""
    controls: dict[Setting, dict[str, Sequence[Record]]] = defaultdict(dict)
    for (setting, criterion), members in groups.items():
        if _is_control(members):
            controls[setting][criterion] = members
    for (setting, criterion), members in groups.items():
        for of_control, by_criterion in controls.items():
            if not _is_control(members) and replace(setting, arm=of_control.arm) == of_control:
                control = by_criterion.get(criterion) or next(iter(by_criterion.values()))
                resampled = replicates[setting.network]
                accuracy = resampled.accuracy([str(record["key"]) for record in control])
                difference = interval(*_difference(resampled, members, control))
                yield Control(setting, criterion, of_control.arm, accuracy, difference)


def _is_control(members: Sequence[Record]) -> bool:
    return bool(members[0]["cell"]["arm"]["fresh"])


def _difference(resampled: Replicates, a: Sequence[Record], b: Sequence[Record]) -> tuple[float, Floats]:
    """Over the seeds that both have, if they have several in common; otherwise over all of both, which are no pairs."""
    one, other = ({record["cell"]["seed"]: str(record["key"]) for record in side} for side in (a, b))
    common = sorted(one.keys() & other.keys())
    if len(common) > 1:
        return resampled.difference([one[seed] for seed in common], [other[seed] for seed in common])
    return resampled.difference(list(one.values()), list(other.values()), paired=one.keys() == other.keys())


def _replicates(records: Sequence[Record]) -> dict[str, Replicates]:
    """By network: all cells of one network have answered the same images."""
    by_network: dict[str, dict[str, Any]] = defaultdict(dict)
    for record in records:
        outcome = record["outcome"]
        by_network[record["name"]][record["key"]] = unpack(outcome["correct"], outcome["images"])
    return {name: Replicates(correct) for name, correct in by_network.items()}


def _mean(values: Iterable[float]) -> float:
    items = list(values)
    return sum(items) / len(items)


def summary_json(summary: Summary) -> dict[str, Any]:
    """As a JSON object; fractions, not percent."""
    lines = [{key: value for key, value in asdict(line).items() if key != "cells"} for line in summary.lines]
    base = {
        name: {"accuracy": record["outcome"]["accuracy"], "macs": record["outcome"]["macs"][0]}
        for name, record in summary.base.items()
    }
    return {
        "base": base,
        "lines": lines,
        "pooled": [asdict(row) for row in summary.pooled],
        "controls": [asdict(row) for row in summary.controls],
        "standings": [asdict(row) for row in summary.standings],
    }
