"""Which networks can be cut, how far, and what holds the rest: every model built with random weights.

    python benchmarks/coverage/sweep.py                          # the networks of docs/coverage.md
    python benchmarks/coverage/sweep.py families                 # one of every family of timm
    python benchmarks/coverage/sweep.py torchvision              # its classifiers
    python benchmarks/coverage/sweep.py timm:swin_tiny_patch4_window7_224 torchvision:resnet18
    python benchmarks/coverage/sweep.py families --out FILE      # rows that FILE holds already are measured anew
    python benchmarks/coverage/sweep.py --table FILE             # Markdown of rows written before

A network passes where, with half of the channels that may go removed (global scheme, residual streams too), the
forward pass and a training step run, removing equals zeroing in float64 to 1e-10, parameters and peak memory are the
predicted ones, and the saved and reloaded model computes bit for bit the same. `reach`: the share of the MACs that can
be cut at most.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torchvision.models.segmentation import deeplabv3_resnet50

import reconv.artifacts
from reconv.cost import measure_memory, total_macs
from reconv.errors import GraphError, ReconvError
from reconv.graph import ChannelGraph, trace
from reconv.plan import Budget, choose
from reconv.provenance import provenance_of
from reconv.saliency import score
from reconv.surgery import prune, verify
from reconv.zoo import load_model

TOLERANCE = 1e-10

# Size of the input (none: the model's own), and the networks.
NAMED_BY_SIZE: dict[int | None, str] = {
    32: "resnet20 vgg16_bn",
    64: "torchvision:vgg16_bn",
    96: "torchvision:resnet18 torchvision:resnet34 torchvision:resnet50 torchvision:resnet101 torchvision:densenet121 "
    "torchvision:mobilenet_v2 torchvision:mobilenet_v3_large torchvision:mobilenet_v3_small "
    "torchvision:efficientnet_b0 torchvision:efficientnet_v2_s torchvision:convnext_tiny "
    "torchvision:squeezenet1_1 torchvision:mnasnet1_0 torchvision:regnet_y_400mf torchvision:resnext50_32x4d "
    "torchvision:googlenet torchvision:shufflenet_v2_x1_0 torchvision:deeplabv3_resnet50",
    128: "timm:seresnet50 timm:ghostnet_100 timm:repvgg_a0 timm:mobileone_s0 timm:dla34 timm:mobilenetv4_conv_small "
    "timm:hrnet_w18_small timm:convnextv2_nano timm:gernet_s timm:ese_vovnet19b_dw timm:selecsls42b "
    "timm:efficientnetv2_rw_t timm:res2net50_26w_4s timm:cspdarknet53 timm:fastvit_t8 timm:resnest14d "
    "timm:nfnet_f0 timm:poolformer_s12 timm:skresnet18 timm:inception_next_tiny timm:edgenext_small",
    224: "torchvision:alexnet torchvision:vit_b_16 torchvision:swin_t torchvision:maxvit_t",
    299: "torchvision:inception_v3",
    None: "timm:beit_base_patch16_224 timm:mixer_s32_224 timm:resmlp_12_224 timm:levit_128s timm:coatnet_nano_rw_224 "
    "timm:vit_tiny_patch16_224 timm:swin_tiny_patch4_window7_224 timm:mobilevit_s timm:xcit_nano_12_p16_224",
}
NAMED: dict[str, int | None] = {name: size for size, names in NAMED_BY_SIZE.items() for name in names.split()}


def randomized(model: nn.Module) -> nn.Module:
    """Statistics, scales and shifts that hide nothing."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if not tensor.is_floating_point():
                continue
            noise = torch.rand(tensor.shape, generator=generator)
            if name.endswith("running_var"):
                tensor.copy_(0.5 + noise)
            elif name.endswith("running_mean"):
                tensor.copy_(0.4 * noise - 0.2)
            elif isinstance(tensor, nn.Parameter) and (tensor.dim() < 2 or float(tensor.abs().max()) < 1e-3):
                tensor.copy_(0.7 + 0.6 * noise if name.endswith("weight") else 0.6 * noise - 0.3)
    return model


def reach(graph: ChannelGraph) -> float:
    """The share of the MACs that goes when every group is cut to its last step."""
    keep = np.ones(graph.classes, dtype=np.bool_)
    for group in graph.groups:
        for step in group.steps(np.arange(group.size))[:-1]:
            keep[group.units[step]] = False
    return 1 - total_macs(graph, keep) / max(total_macs(graph), 1)


def examine(name: str, size: int | None) -> dict[str, Any]:
    """One row of the table."""
    torch.set_num_threads(1)
    row: dict[str, Any] = {"name": name}
    try:
        torch.manual_seed(0)
        model = randomized(built(name)).eval()
        shape = (1, 3, size, size) if size else (1, *input_size(model))
        example = torch.randn(shape)
        clock = Clock(row)
        try:
            graph = clock("trace", lambda: trace(model, example))
        except GraphError:  # too small for it
            example = torch.randn(1, *own_input_size(model))
            graph = clock("trace", lambda: trace(model, example))
        row["input"] = list(example.shape[1:])
        row["reach"] = reach(graph)
        row["reasons"] = reasons(graph)
        row["notes"] = list(graph.notes)
        scores = clock("score", lambda: score(graph, "l2"))
        plan = clock("plan", lambda: choose(graph, scores, Budget(channels=0.5), scheme="global", coupled=True))
        small = clock("prune", lambda: prune(model, plan))
        row["macs"] = plan.macs[1] / plan.macs[0]
        row["params"] = plan.params[1] / plan.params[0]
        row["error"] = clock("verify", lambda: verify(model, small, plan))
        row["counted"] = sum(p.numel() for p in small.parameters()) == plan.params[1]
        measured = measure_memory(model, example), measure_memory(small, example)
        row["memory"] = plan.memory == measured
        row["saved"] = bit_equal_after_saving(small, model, example)
        train(small, example)
        right = row["error"] <= TOLERANCE and row["counted"] and row["saved"] and row["memory"]
        row["status"] = "passes" if right else "WRONG"
    except ReconvError as error:
        row.update(status="refused", why=str(error))
    except Exception as error:
        row.update(status="FAILS", why=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
    return row


class Clock:
    def __init__(self, row: dict[str, Any]):
        self.row = row

    def __call__(self, what: str, step: Any) -> Any:
        start = time.perf_counter()
        result = step()
        self.row[f"{what}_s"] = round(time.perf_counter() - start, 3)
        return result


def input_size(model: nn.Module) -> tuple[int, ...]:
    """The model's own input; a smaller one where it takes any."""
    size = own_input_size(model)
    fixed = getattr(model, "pretrained_cfg", {"fixed_input_size": True}).get("fixed_input_size")
    return size if fixed else (size[0], *(min(n, 160) for n in size[1:]))


def own_input_size(model: nn.Module) -> tuple[int, ...]:
    return tuple(getattr(model, "pretrained_cfg", {}).get("input_size", (3, 224, 224)))


def reasons(graph: ChannelGraph) -> dict[str, int]:
    """Why channels stay, with how many layers' channels each reason holds."""
    counts: Counter[str] = Counter()
    for group in graph.groups:
        if group.reasons:
            counts[next(iter(group.reasons.values()))] += len(group.producers)
    return dict(counts.most_common())


def built(name: str) -> nn.Module:
    if name == "torchvision:deeplabv3_resnet50":  # no classifier, so `load_model` does not list it
        return deeplabv3_resnet50(weights=None, weights_backbone=None)
    return load_model(name)


def bit_equal_after_saving(small: nn.Module, model: nn.Module, example: Tensor) -> bool:
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        reconv.artifacts.save(small, Path(folder) / "model")
        own = None if provenance_of(small).spec else model
        again = reconv.artifacts.load(Path(folder) / "model", model=own)
        pairs = zip(leaves(small.eval()(example)), leaves(again(example)), strict=True)
        return all(torch.equal(a, b) for a, b in pairs)


def train(small: nn.Module, example: Tensor) -> None:
    small.train()
    outputs = small(torch.cat([example, example.flip(-1)]))
    torch.stack([t.float().square().mean() for t in leaves(outputs)]).sum().backward()
    torch.optim.SGD(small.parameters(), lr=1e-3).step()


def leaves(outputs: Any) -> list[Tensor]:
    return [t for t in pytree.tree_leaves(outputs) if isinstance(t, Tensor)]


LARGEST = 150_000_000  # parameters

SMALL = (
    "atto",
    "femto",
    "pico",
    "nano",
    "xxs",
    "xxt",
    "_xs",
    "tiny",
    "mini",
    "small",
    "_t_",
    "_s_",
    "_s",
    "18",
    "b0",
    "base",
)


def families() -> dict[str, int | None]:
    """A small model of every timm family (a module of timm.models), by its name."""
    import timm

    def size_of(name: str) -> tuple[int, int, str]:
        return next((i for i, hint in enumerate(SMALL) if hint in name), len(SMALL)), len(name), name

    result: dict[str, int | None] = {}
    for family in sorted(timm.list_modules()):
        names = timm.list_models(module=family, exclude_filters=["test_*", "*_384*", "*_448*", "*_512*"])
        if names:
            result[f"timm:{min(names, key=size_of)}"] = None
    return result


def classifiers() -> dict[str, int | None]:
    """Those of torchvision, but for the largest, with the size of their input."""
    from torchvision import models

    def small(name: str) -> bool:
        return int(models.get_model_weights(name).DEFAULT.meta["num_params"]) <= LARGEST

    return {f"torchvision:{n}": size_for(f"torchvision:{n}") for n in models.list_models(module=models) if small(n)}


def size_for(name: str) -> int | None:
    """Of the input; none where the model says it."""
    if name in NAMED or not name.startswith("torchvision:"):
        return NAMED.get(name)
    if "vgg" in name:
        return 64
    return 224 if any(part in name for part in ("vit", "swin")) else 96


def examined(
    networks: dict[str, int | None], seconds: float, examine: Callable[..., dict[str, Any]] = examine
) -> Iterator[dict[str, Any]]:
    """Rows, each from a process of its own, so that none can spoil another."""
    for name, size in networks.items():
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            future = pool.submit(examine, name, size)
            try:
                yield future.result(seconds)
            except TimeoutError:
                for process in pool._processes.values():
                    process.kill()
                yield {"name": name, "status": "FAILS", "why": f"not done in {seconds:.0f} s"}
            except BrokenProcessPool:
                yield {"name": name, "status": "FAILS", "why": "its process died"}


def line(row: dict[str, Any]) -> str:
    if "reach" not in row:
        return f"{row['name']:45} {row['status']:8} {row.get('why', '')}"
    spent = " ".join(f"{row.get(f'{k}_s', float('nan')):6.2f}" for k in ("trace", "score", "plan", "prune"))
    return (
        f"{row['name']:45} {row['status']:8} reach {row['reach']:4.0%}  MACs {row.get('macs', 1):4.0%}  "
        f"error {row.get('error', float('nan')):7.0e}  {spent}  {row.get('why', '')}"
    )


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown: what was done, then what holds the channels that stay."""
    lines = [
        "| network | input | result | MACs within reach | MACs left | error | trace, plan, prune (s) |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        name = row["name"].replace(":", ": ")
        if "reach" not in row:
            lines.append(f"| {name} | | {row['status']}: {row.get('why', '')} | | | | |")
            continue
        size = "x".join(map(str, row["input"][1:]))
        spent = ", ".join(f"{row.get(f'{what}_s', 0):.2f}" for what in ("trace", "plan", "prune"))
        lines.append(
            f"| {name} | {size} | {row['status']} | {row['reach']:.0%} | {row.get('macs', 1):.0%} | "
            f"{row.get('error', float('nan')):.0e} | {spent} |"
        )
    held: Counter[str] = Counter()
    for row in rows:
        for reason, layers in row.get("reasons", {}).items():
            held[short(reason)] += layers
    lines += ["", "| channels stay because | layers |", "|---|---|"]
    lines += [f"| {reason} | {layers} |" for reason, layers in held.most_common()]
    return "\n".join(lines) + "\n"


def short(reason: str) -> str:
    """A reason without its numbers and places."""
    if reason.startswith("a cut copy fails"):
        return "the model's code counts on a size (found by running a cut copy)"
    return reason.split(" (")[0]


def summary(rows: list[dict[str, Any]]) -> str:
    counts = Counter(row["status"] for row in rows)
    passing = [row for row in rows if row["status"] == "passes"]
    half = sum(row.get("reach", 0) >= 0.5 for row in passing)
    told = ", ".join(f"{number} {status}" for status, number in counts.most_common())
    if len(passing) == len(rows):
        told = f"all {len(rows)} pass"
    within = f"all {len(rows)}" if half == len(rows) else str(half)
    return f"{len(rows)} networks: {told}; in {within}, at least half of the MACs are within reach."


def read(file: Path | None) -> dict[str, dict[str, Any]]:
    """The rows of a file by their networks; none where there is no file."""
    if file is None or not file.exists():
        return {}
    return {row["name"]: row for row in map(json.loads, file.read_text().splitlines())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", help="names, or `families`, or `torchvision`")
    parser.add_argument("--out", type=Path, help="write the rows as JSON, one a line, in the place of older ones")
    parser.add_argument("--seconds", type=float, default=300, help="for one network")
    parser.add_argument("--reasons", action="store_true", help="print why channels stay")
    parser.add_argument(
        "--table", type=Path, nargs="+", help="print a Markdown table of rows written before; run nothing"
    )
    given = parser.parse_args()
    if given.table:
        rows = [row for file in given.table for row in read(file).values()]
        print(summary(rows), table(rows), sep="\n\n")
        return
    chosen = {n: size_for(n) for n in given.networks} or NAMED
    many = {("families",): families, ("torchvision",): classifiers}.get(tuple(given.networks))
    networks = many() if many is not None else chosen
    rows, kept = [], read(given.out)
    for row in examined(networks, given.seconds):
        rows.append(row)
        kept[row["name"]] = row
        print(line(row), flush=True)
        if given.reasons:
            for reason, count in row.get("reasons", {}).items():
                print(f"        {count:4} {reason}", flush=True)
        if given.out:
            given.out.write_text("".join(json.dumps(r) + "\n" for r in kept.values()))
    print(summary(rows), file=sys.stderr)


if __name__ == "__main__":
    main()
