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
_MOST = 2  # pictures a network
_UNIFORM = "uniform"


def kept_widths(lines: Sequence[Line], base: Mapping[str, Any], described: Mapping[str, Any]) -> tuple[Widths, ...]:
    """A picture a setting whose scheme may choose, beside the same share of every layer.

    Args:
        lines: of one network. base: outcome of the whole network. described: what `describe_networks` keeps of it.
    """
    layers, before = described.get("layers", ()), base["widths"]
    if len(layers) != len(before):
        return ()
    cut = [i for i, name in enumerate(layers) if name in set(described["cut"])]
    found: dict[Setting, dict[str, Line]] = defaultdict(dict)
    for line in lines:
        if len(line.widths) == len(layers):
            found[replace(line.setting, arm="")].setdefault(line.criterion, line)
    pictures = []
    for setting in _pictured(found)[:_MOST]:
        uniform = found.get(replace(setting, scheme=_UNIFORM), {})
        rows = {_UNIFORM: next(iter(uniform.values()))} if uniform else {}
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


def _pictured(found: Mapping[Setting, Mapping[str, Line]]) -> list[Setting]:
    """Of each scheme that may choose, the setting whose networks keep nearest to half of the MACs."""
    best: dict[Setting, Setting] = {}
    for setting in sorted(found, key=lambda setting: _distance(found[setting])):
        if setting.scheme != _UNIFORM:
            best.setdefault(replace(setting, budget=""), setting)
    return [best[scheme] for scheme in sorted(best)]


def _distance(lines: Mapping[str, Line]) -> float:
    return min(abs(line.macs - _PICTURED) for line in lines.values())
