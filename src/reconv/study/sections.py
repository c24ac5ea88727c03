"""One network of a study: what it was, its pictures and tables."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from reconv.report import numbers
from reconv.report.study_facts import Matrix, Section
from reconv.study.accuracy_tables import accuracy_tables
from reconv.study.cell import Network
from reconv.study.design import Study
from reconv.study.kept_widths import kept_widths
from reconv.study.measures import criteria_of, described
from reconv.study.panels import by_panel
from reconv.study.pictures import accuracy_plots, speed_plots
from reconv.study.store import LATENCY, NETWORKS, Store
from reconv.study.tables import Summary
from reconv.study.words import rank


def section_of(network: Network, study: Study, store: Store, summary: Summary) -> Section:
    """What a study's report shows of one network."""
    base = summary.base[network.name]["outcome"]
    lines = [line for line in summary.lines if line.setting.network == network.name]
    controls = [row for row in summary.controls if row.setting.network == network.name]
    panels, known = by_panel(lines), described(store.read(NETWORKS), network)
    return Section(
        title=network.name,
        lead=f"{network.model} on {network.data_set}: "
        f"{numbers.percent(base['accuracy'])} of {base['images']:,} {study.split} images before the cut, "
        f"{numbers.count(base['macs'][0])} MACs an image, {numbers.count(base['parameters'][0])} parameters.",
        plots=accuracy_plots(panels, base, study.split),
        speed=speed_plots(panels, base, store.read(LATENCY), network, study.split),
        tables=accuracy_tables(panels, controls, study),
        agreement=_agreement(known, criteria_of(study, network)),
        widths=kept_widths(lines, base, known),
    )


def _agreement(described: Mapping[str, Any], asked: Collection[str]) -> Matrix | None:
    names = described.get("criteria", ())
    order = sorted((i for i, name in enumerate(names) if name in asked), key=lambda i: rank(names[i]))
    if len(order) < 2:
        return None
    return Matrix(
        "How alike the criteria rank channels",
        "Kendall's tau of two criteria's scores, mean over the layers that may be cut: 1 is the same order, 0 none. "
        "Of criteria that look at weights alone.",
        tuple(names[i] for i in order),
        tuple(tuple(described["tau"][i][j] for j in order) for i in order),
    )
