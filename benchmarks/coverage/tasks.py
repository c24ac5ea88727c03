"""Whether networks of other tasks than classification can be pruned: detectors, segmenters, video, text, sound, points.

    python benchmarks/coverage/tasks.py --out tasks.jsonl                 # what is not in the file yet, of all networks
    python benchmarks/coverage/tasks.py ultralytics --out tasks.jsonl     # those whose name begins so
    python benchmarks/coverage/tasks.py smp:Unet/resnet18                 # one
    python benchmarks/coverage/tasks.py --again --out tasks.jsonl monai   # measured anew
    python benchmarks/coverage/tasks.py --table tasks.jsonl               # Markdown

The networks are in `task_networks.py`; packages that are not installed are named and left out. Each runs in a process
of its own, with random weights. Half of the channels that may go are removed (global scheme), without and with residual
streams (`coupled`). A network is **right** where, both times, removing equals zeroing in float64 (`verify`), parameters
are those that the plan predicts, a training step runs, and the saved and reloaded network computes bit for bit the
same. It is **refused** where reconv says why it cannot, **undecided** where random weights and images give nothing to
compare, and **wrong** otherwise. ONNX: the file of the network pruned with streams, in onnxruntime, against PyTorch;
where it cannot be exported, whether the original can. Torch-Pruning: the same share, the layers that give the network's
output left out as reconv found them.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from sweep import Clock, examined, leaves, randomized, reach, read, reasons  # type: ignore[import-not-found]
from task_networks import NETWORKS, Network  # type: ignore[import-not-found]
from torch import nn
from torch.utils._pytree import tree_map

import reconv
import reconv.artifacts
from reconv.errors import ReconvError, first_line
from reconv.graph import ChannelGraph
from reconv.graph.tracing import call_arguments
from reconv.provenance import provenance_of

PARITY = 1e-4
PACKAGES = {"smp": "segmentation_models_pytorch"}


def examine(name: str, size: int | None = None) -> dict[str, Any]:
    """One row."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network: Network = NETWORKS[name]
    row: dict[str, Any] = {"name": name}
    try:
        model = randomized(network.build()).eval().requires_grad_(True)
        example = network.example()
        call(model, example)
        row["parameters"] = sum(p.numel() for p in model.parameters())
    except Exception as error:
        return {**row, "status": "not built", "why": said(error)}
    try:
        graph = Clock(row)("trace", lambda: reconv.trace(model, example))
        row["reach"] = reach(graph)
        row["reasons"] = reasons(graph)
        scores = reconv.score(graph, "l2")
        cuts = [cut(network, graph, scores, example, coupled) for coupled in (False, True)]
        small = cuts[1].pop("model")
        cuts[0].pop("model")
        row |= {"without": cuts[0], "coupled": cuts[1]}
        row["status"] = worst(part["status"] for part in cuts)
        row["onnx"] = onnx(small, model, example)
    except ReconvError as error:
        row.update(status="refused", why=said(error))
    except Exception as error:
        row.update(status="WRONG", why=said(error))
    else:
        row["torch_pruning"] = by_torch_pruning(graph, example)
    return row


def cut(network: Network, graph: ChannelGraph, scores: Any, example: Any, coupled: bool) -> dict[str, Any]:
    """Half of the channels removed, and what is true of the result."""
    row: dict[str, Any] = {}
    plan = reconv.choose(graph, scores, reconv.Budget(channels=0.5), scheme="global", coupled=coupled)
    small = reconv.prune(graph.model, plan)
    row["macs"] = plan.macs[1] / plan.macs[0]
    proof = reconv.verify(graph.model, small, plan)
    row["error"], row["proof"] = float(proof), proof.undecided or ("holds" if proof.holds else "FAILS")
    row["counted"] = sum(p.numel() for p in small.parameters()) == plan.params[1]
    row["saved"] = saved(small, graph.model, example)
    row["trained"] = trained(small, network)
    good = row["counted"] and row["saved"] is True and row["trained"] is True
    row["status"] = "WRONG" if not good or row["proof"] == "FAILS" else "undecided" if proof.undecided else "right"
    return {**row, "model": small}


def worst(statuses: Iterator[str]) -> str:
    return max(statuses, key=["right", "undecided", "WRONG"].index)


def call(model: nn.Module, example: Any) -> Any:
    args, kwargs = call_arguments(tree_map(lambda x: x.clone() if isinstance(x, torch.Tensor) else x, example))
    with torch.no_grad():
        return model(*args, **kwargs)


def saved(small: nn.Module, model: nn.Module, example: Any) -> bool | str:
    """Whether the reloaded network computes the same to the bit."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            reconv.artifacts.save(small, Path(folder) / "net")
            own = None if provenance_of(small).spec else model
            package = {"smp": "smp", "ultralytics": "ultralytics"}
            spec = provenance_of(small).spec
            code = None if spec is None else package.get(spec.name.partition(":")[0])
            again = reconv.artifacts.load(Path(folder) / "net", model=own, code=code)
        except ReconvError as error:
            return said(error)
    pairs = zip(leaves(outputs(small, example)), leaves(outputs(again, example)), strict=True)
    return all(torch.equal(a, b) or bool(a.isnan().any()) for a, b in pairs)


def outputs(model: nn.Module, example: Any) -> Any:
    torch.manual_seed(0)
    return call(model.eval(), example)


def trained(small: nn.Module, network: Network) -> bool | str:
    """Whether a training step runs, on two examples; of what the network cannot do itself, the message."""
    small = copy.deepcopy(small).train()
    for module in small.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            module.eval()  # a single value per channel has no variance
    try:
        args, kwargs = call_arguments(tree_map(twice, network.example()))
        if network.targets is not None:
            args = ([*args[0], *args[0]], network.targets())
        result = small(*args, **kwargs)
        values = [t.float() for t in leaves(result) if t.requires_grad and t.numel()]
        torch.stack([t.square().mean() for t in values]).sum().backward()
        torch.optim.SGD(small.parameters(), lr=1e-3).step()
    except Exception as error:
        return said(error)
    return True


def twice(value: Any) -> Any:
    return torch.cat([value, value]) if isinstance(value, torch.Tensor) and value.dim() else value


def onnx(small: nn.Module, model: nn.Module, example: Any) -> dict[str, Any]:
    """The difference of the file's outputs, relative; or why there is no file, and whether there is one of the
    original."""

    def written(network: nn.Module) -> float:
        with tempfile.TemporaryDirectory() as folder:
            return reconv.export(
                network, Path(folder) / "net.onnx", example=example, to="onnx", tolerance=float("inf")
            ).error

    try:
        return {"error": written(small)}
    except Exception as error:
        why = said(error)
    try:
        written(model)
    except Exception:
        return {"why": why, "original": False}
    return {"why": why, "original": True}


def by_torch_pruning(graph: ChannelGraph, example: Any) -> str:
    """What Torch-Pruning does with half of the channels: the MACs left, or how it ends."""
    import torch_pruning as tp

    model = copy.deepcopy(graph.model).eval()
    heads = {name for group in graph.groups if "output" in (group.reason or "") for name in group.producers}
    args, kwargs = call_arguments(example)
    try:
        pruner = tp.pruner.BasePruner(
            model,
            kwargs or args,
            tp.importance.GroupMagnitudeImportance(p=2),
            global_pruning=True,
            pruning_ratio=0.5,
            ignored_layers=[module for name, module in model.named_modules() if name in heads],
        )
        pruner.step()
    except Exception as error:
        return f"stops: {said(error)[:80]}"
    try:
        call(model, example)
    except Exception as error:
        return f"does not run any more: {said(error)[:80]}"
    try:
        small = reconv.trace(model, example)
    except ReconvError:
        return "runs"
    macs = [sum(layer.macs() for layer in each.layers) for each in (graph, small)]
    return f"runs, {macs[1] / max(macs[0], 1):.0%} left"


def said(error: Exception) -> str:
    text = first_line(error) if str(error) else type(error).__name__
    return text[:200] if isinstance(error, ReconvError) else f"{type(error).__name__}: {text[:200]}"


# --- the table -------------------------------------------------------------------------------------------


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: totals, then a row for each network."""
    built = [row for row in rows if row["status"] not in ("not built", "late")]
    counts = Counter(row["status"] for row in built)
    lines = [
        f"{len(built)} networks: " + ", ".join(f"{number} {status}" for status, number in counts.most_common()) + ".",
        "",
        "| network | trace (s) | result | MACs within reach | left, without and with streams | ONNX | Torch-Pruning |",
        "|---|---|---|---|---|---|---|",
    ]
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in built:
        groups[row["name"].partition(":")[0]].append(row)
    for row in (row for group in groups.values() for row in group):
        name = row["name"].replace(":", ": ")
        if "coupled" not in row:
            lines.append(f"| {name} | | {row['status']}: {cell(row.get('why', ''))} | | | | |")
            continue
        left = ", ".join(f"{row[key]['macs']:.0%}" for key in ("without", "coupled"))
        lines.append(
            f"| {name} | {row['trace_s']:.2f} | {result(row)} | {row['reach']:.0%} | {left} | "
            f"{of_onnx(row['onnx'])} | {cell(row.get('torch_pruning', ''))} |"
        )
    return "\n".join(lines) + "\n"


def result(row: dict[str, Any]) -> str:
    if row["status"] == "right":
        return "right"
    parts = row["without"], row["coupled"]
    faults = [
        str(part[key]) for part in parts for key in ("proof", "saved", "trained") if part[key] not in (True, "holds")
    ]
    return f"{row['status']}: {cell('; '.join(dict.fromkeys(faults)))[:150]}"


def of_onnx(found: dict[str, Any]) -> str:
    if "error" in found:
        return f"{found['error']:.0e}"
    return f"no: {cell(found['why'])[:60]}" if found["original"] else "nor the original"


def cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())


def is_installed(name: str) -> bool:
    package = name.partition(":")[0]
    return ":" not in name or find_spec(PACKAGES.get(package, package)) is not None


def rows_of(names: list[str], seconds: float) -> Iterator[dict[str, Any]]:
    """Rows; of what died, as one that is wrong. What was not done in time is measured next time."""
    for row in examined(dict.fromkeys(names), seconds, examine):
        late = str(row.get("why", "")).startswith("not done in")
        yield row | ({"status": "late" if late else "WRONG"} if row["status"] == "FAILS" else {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", help="how their names begin; none: all")
    parser.add_argument("--out", type=Path, help="rows, JSON, one a line; what is there is not measured again")
    parser.add_argument("--again", action="store_true", help="but with this")
    parser.add_argument("--seconds", type=float, default=300, help="for one network")
    parser.add_argument("--table", type=Path, help="print a file's rows as Markdown; run nothing")
    given = parser.parse_args()
    if given.table:
        print(table(list(read(given.table).values())))
        return
    kept = {name: row for name, row in read(given.out).items() if row["status"] != "late"}
    wanted = [name for name in NETWORKS if not given.networks or name.startswith(tuple(given.networks))]
    missing = [name for name in wanted if not is_installed(name)]
    if missing:
        print(f"not installed, left out: {', '.join(missing)}", file=sys.stderr)
    names = [name for name in wanted if name not in missing and (given.again or name not in kept)]
    for row in rows_of(names, given.seconds):
        kept[row["name"]] = row
        print(json.dumps(row), flush=True)
        if given.out:
            given.out.write_text("".join(json.dumps(r) + "\n" for r in kept.values()))


if __name__ == "__main__":
    main()
