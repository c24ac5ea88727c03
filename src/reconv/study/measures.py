"""What a study measures besides its cells: how alike criteria rank channels, and how fast the small networks are."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any

from scipy.stats import kendalltau
from torch import nn

from reconv.files import write_json
from reconv.machine import device_name, versions
from reconv.results.measure import BATCHES, timed_interleaved
from reconv.saliency import Criterion, score
from reconv.study.cell import Cell, Network, needs_images
from reconv.study.context import NetworkContext, context_for
from reconv.study.design import Study
from reconv.study.peers import is_peer
from reconv.study.store import LATENCY, NETWORKS, Store
from reconv.threads import one_thread
from reconv.training import device_named

_CPU = "cpu"
_SECONDS = 4.0  # of timing an architecture and batch size


def describe_networks(study: Study, store: Store, device: str) -> None:
    """The networks' layers, and Kendall's tau between the study's criteria (mean over the layers that may be pruned).

    Kept in the store by the fingerprint of the weights; what is there already is not computed again.
    """
    entries = store.read(NETWORKS)
    for network in study.networks:
        entry, criteria = entries.get(network.fingerprint, {}), criteria_of(study, network)
        earlier = entry.get("criteria", [])
        if "streams" in entry and set(criteria) <= set(earlier):
            continue
        context, criteria = context_for(network, device), list(dict.fromkeys([*earlier, *criteria]))
        with one_thread():
            taus = _taus(context, criteria)
        entries[network.fingerprint] = {
            "layers": [layer.name for layer in context.graph.layers],
            "cut": sorted(context.prunable()),
            "streams": sorted(context.prunable(streams=True)),
            "criteria": criteria,
            "tau": taus,
        }
        write_json(store.path / NETWORKS, entries)


def criteria_of(study: Study, network: Network) -> list[str]:
    """The criteria of a study for a network that need weights alone."""
    grids = [grid for grid in study.grids if network.name in grid.networks]
    names = dict.fromkeys(name for grid in grids for name in grid.criteria)
    return [name for name in names if name in Criterion.registry and not needs_images(name)]


def _taus(context: NetworkContext, criteria: list[str]) -> list[list[float | None]]:
    scores, prunable = [score(context.graph, name).values for name in criteria], context.prunable()
    table: list[list[float | None]] = []
    for one in scores:
        row: list[float | None] = []
        for other in scores:
            both = prunable & set(one) & set(other)
            taus = [float(kendalltau(one[layer].cpu(), other[layer].cpu()).statistic) for layer in one if layer in both]
            taus = [tau for tau in taus if not math.isnan(tau)]
            row.append(sum(taus) / len(taus) if taus else None)
        table.append(row)
    return table


def measure_latencies(cells: Iterable[Cell], store: Store, device: str, note: Callable[[str], None]) -> None:
    """Measure each small architecture beside its unpruned network, once per kind of device; kept by its widths.

    Latency is not part of a cell: it is a property of the machine and the widths, not of the criterion.
    """
    records, entries = store.records(), store.read(LATENCY)
    kind = device_named(device).type
    missing: dict[str, Cell] = {}
    for cell in cells:
        record = records.get(cell.key)
        if record is None or cell.is_unpruned or is_peer(cell.criterion):
            continue
        key = latency_key(cell.network, record["outcome"]["widths"], kind)
        if key not in entries:
            missing.setdefault(key, cell)
    for number, (key, cell) in enumerate(missing.items(), start=1):
        context = context_for(cell.network, device)
        entries[key] = _timed(context, context.compress(replace(cell.compression, after=())).model)
        write_json(store.path / LATENCY, entries)
        note(f"latency of {cell} ({len(missing) - number} left)")


def latency_key(network: Network, widths: Iterable[int], device: str) -> str:
    """Under which a latency is kept: of network, its images, widths and kind of device, such as "cpu"."""
    text = json.dumps([network.fingerprint, network.labels, list(widths), device])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _timed(context: NetworkContext, small: nn.Module) -> dict[str, Any]:
    rows = []
    with one_thread():
        machine, kind = versions(), context.device.type
        for batch in BATCHES:
            before, after = timed_interleaved(
                (context.model, small), context.data.input_size, batch, context.device, seconds=_SECONDS
            )
            rows.append({"batch": batch, "before": asdict(before), "after": asdict(after)})
    machine = {key: machine[key] for key in ("torch", "processor", "accelerator")}
    if kind != _CPU:
        machine["accelerator"] = device_name(context.device)
    return {"rows": rows, "device": kind, "machine": machine}


def device_of(entry: Mapping[str, Any]) -> str:
    """The kind of device that a latency was measured on; the first ones, all of CPUs, did not say."""
    return str(entry.get("device", _CPU))


def machine_of(entry: Mapping[str, Any]) -> str:
    """What a latency was measured on, as text."""
    machine, kind = entry["machine"], device_of(entry)
    return f"{kind.upper()}: {machine['processor' if kind == _CPU else 'accelerator']}, PyTorch {machine['torch']}"


def speedup(entry: Mapping[str, Any], batch: int) -> float | None:
    """How many times faster than the unpruned network at this batch size."""
    for row in entry.get("rows", ()):
        if row["batch"] == batch:
            return float(row["before"]["median"] / row["after"]["median"])
    return None
