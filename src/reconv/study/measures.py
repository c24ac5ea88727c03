"""What a study measures besides its cells: how alike criteria rank channels, and how fast the small networks are."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from reconv.files import write_json
from reconv.pipeline.account import versions
from reconv.pipeline.stages import BATCHES, timed_in_turns
from reconv.rank import kendall_tau
from reconv.saliency import CRITERIA
from reconv.study.bench import Bench, bench_for
from reconv.study.cell import PEER, Cell, Network
from reconv.study.design import Study
from reconv.study.store import Store
from reconv.surgery import prune
from reconv.threads import one_thread

NETWORKS, LATENCY = "networks.json", "latency.json"
_SECONDS = 4.0  # of timing an architecture and batch size


def describe_networks(study: Study, store: Store, device: str) -> None:
    """The networks' layers, and Kendall's tau between the study's criteria (mean over the layers that may be cut)."""
    found = {}
    for network in study.networks:
        bench, wanted = bench_for(network, device), _criteria(study, network)
        with one_thread():
            taus = _taus(bench, wanted)
        layers = [layer.name for layer in bench.graph.layers]
        found[network.name] = {"layers": layers, "cut": sorted(_cuttable(bench)), "criteria": wanted, "tau": taus}
    write_json(store.path / NETWORKS, found)


def _cuttable(bench: Bench) -> set[str]:
    groups = (group for group in bench.graph.groups if not group.reason and not group.stream)
    return {layer for group in groups for layer in group.producers}


def _criteria(study: Study, network: Network) -> list[str]:
    grids = [grid for grid in study.grids if network.name in grid.networks]
    return list(dict.fromkeys(name for grid in grids for name in grid.criteria if name in CRITERIA))


def _taus(bench: Bench, criteria: list[str]) -> list[list[float | None]]:
    scores = [bench.scores(name, 0).values for name in criteria]
    cuttable = _cuttable(bench)
    table: list[list[float | None]] = []
    for one in scores:
        row: list[float | None] = []
        for other in scores:
            taus = [kendall_tau(one[layer], other[layer]) for layer in one if layer in other and layer in cuttable]
            taus = [tau for tau in taus if not math.isnan(tau)]
            row.append(sum(taus) / len(taus) if taus else None)
        table.append(row)
    return table


def latencies(study: Study, cells: Iterable[Cell], store: Store, device: str, note: Callable[[str], None]) -> None:
    """Measure each architecture of the study beside its whole network, once; kept in the store by its widths.

    Latency is not part of a cell: it is a property of the machine and the widths, not of the criterion.
    """
    records, known = store.records(), store.read(LATENCY)
    for cell in cells:
        record = records.get(cell.key)
        if record is None or cell.is_whole or cell.criterion.startswith(PEER):
            continue
        key = latency_key(cell.network.fingerprint, record["outcome"]["widths"], device)
        if key not in known:
            bench = bench_for(cell.network, device)
            known[key] = _timed(bench, prune(bench.model, bench.plan_of(cell)))
            write_json(store.path / LATENCY, known)
            note(f"latency of {cell.network.name}, {cell.budget} {cell.scheme}")


def latency_key(fingerprint: str, widths: Iterable[int], device: str = "cpu") -> str:
    """By which a latency is kept: network, widths and kind of device."""
    text = json.dumps([fingerprint, list(widths), torch.device(device).type if device != "auto" else device])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _timed(bench: Bench, small: nn.Module) -> dict[str, Any]:
    rows = []
    for batch in BATCHES:
        with one_thread():
            before, after = timed_in_turns(
                (bench.model, small), bench.data, batch, bench.device, seconds=_SECONDS, least=5
            )
        rows.append({"batch": batch, "before": asdict(before), "after": asdict(after)})
    known = versions()
    machine = {key: known[key] for key in ("torch", "processor", "accelerator")} | {"threads": "1"}
    return {"rows": rows, "machine": machine}


def speedup(entry: Mapping[str, Any], batch: int) -> float | None:
    """How many times faster than the whole network at this batch size."""
    for row in entry.get("rows", ()):
        if row["batch"] == batch:
            return float(row["before"]["median"] / row["after"]["median"])
    return None
