"""Pictures of how many channels of each layer a plan keeps, where the scheme may choose."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from reconv.report.plots import WHOLE
from reconv.report.study_facts import Widths
from reconv.study.tables import Line, Setting
from reconv.study.words import rank, setting_text, style

_PICTURED = 0.5  # of the MACs stays, or what comes nearest; other budgets look alike
_UNIFORM = "uniform"


def kept_widths(lines: Sequence[Line], base: Mapping[str, Any], described: Mapping[str, Any]) -> tuple[Widths, ...]:
    """A picture a way to say widths, beside the same share of every layer; that alone where nothing else was asked.

    Args:
        lines: of one network. base: outcome of the whole network. described: what `describe_networks` keeps of it.
    """
    layers, before = described.get("layers", ()), base["widths"]
    if len(layers) != len(before):
        return ()
    found: dict[Setting, dict[str, Line]] = defaultdict(dict)
    for line in lines:
        if len(line.widths) == len(layers):
            found[replace(line.setting, arm="")].setdefault(line.criterion, line)
    pictures = []
    for setting in _pictured(found):
        cut = _layers_cut(setting, described)
        uniform = found.get(replace(setting, scheme=_UNIFORM), {})
        rows = {_UNIFORM: next(iter(uniform.values()))} if uniform else {}
        if setting.scheme != _UNIFORM:
            rows |= {criterion: found[setting][criterion] for criterion in sorted(found[setting], key=rank)}
        pictures.append(
            Widths(
                setting_text(setting),
                "Share of each layer's output channels that is kept, in the layers that may be cut.",
                tuple(layers[i] for i in cut),
                tuple(before[i] for i in cut),
                {name: tuple(line.widths[i] for i in cut) for name, line in rows.items()},
                {name: WHOLE if name == _UNIFORM else style(name) for name in rows},
            )
        )
    return tuple(pictures)


def _layers_cut(setting: Setting, described: Mapping[str, Any]) -> list[int]:
    """Which layers may lose channels, by their places."""
    names = {*described["cut"], *(described.get("streams", ()) if setting.coupled else ())}
    return [i for i, name in enumerate(described["layers"]) if name in names]


def _pictured(found: Mapping[Setting, Mapping[str, Line]]) -> list[Setting]:
    """Of each scheme, the setting whose networks keep nearest to half of the MACs; uniform ones where no other chose.

    One of the paper's configurations says all widths, whoever chooses the channels.
    """
    best: dict[Setting, Setting] = {}
    for setting in sorted(found, key=lambda setting: _distance(found[setting])):
        kind = "cfg" if setting.budget.startswith("cfg") else ""
        best.setdefault(replace(setting, budget=kind), setting)
    chosen = [best[kind] for kind in sorted(best)]
    return [setting for setting in chosen if setting.scheme != _UNIFORM or setting.budget.startswith("cfg")] or chosen


def _distance(lines: Mapping[str, Line]) -> float:
    return min(abs(line.macs - _PICTURED) for line in lines.values())
