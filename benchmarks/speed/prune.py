"""CPU seconds to prune a network, side by side with Torch-Pruning: half of the channels, every layer the same share.

    pip install -e '.[peers]'
    python benchmarks/speed/prune.py            # every case, a table; goes on where an earlier run was interrupted
    python benchmarks/speed/prune.py --anew     # all of them once more
    python benchmarks/speed/prune.py --table    # the table of what was measured before; runs nothing
    python benchmarks/speed/prune.py --models torchvision:resnet50 --keep 0.3 --runs 5 --out rows.json

Ours: `trace`, `score` by Frobenius norms, `choose`, `prune`. Torch-Pruning: importance (group magnitude, p=2), the
pruner's construction, `step`; classifiers are left alone, and heads of attentions are named to it. Residual streams are
cut by both.

The last case asks for a twentieth of ResNet-34's channels, taken globally.

Each tool has one process for each case, with one thread. The two take turns; every run prunes a fresh network, and what
building it has left to Python's garbage collector is collected before. `first` is the first run of a process, with what
PyTorch sets up on demand; `median` is over all runs. A run that takes longer than `--seconds` is ended and counts as
not done. MACs are PyTorch's own count, before and after; where the forward pass of the result fails, the error stands
in their place. Every case is kept in `--out` as soon as it is measured.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import select
import statistics
import subprocess
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import FlopCounterMode

TOOLS = ("reconv", "torch-pruning")
START_SECONDS = 300  # to import and to build

NETWORKS_OF = {
    "torchvision": "resnet18 resnet34 resnet50 resnet101 vgg16_bn densenet121 mobilenet_v2 mobilenet_v3_large "
    "mobilenet_v3_small efficientnet_b0 efficientnet_v2_s convnext_tiny vit_b_16 alexnet squeezenet1_1 mnasnet1_0 "
    "regnet_y_400mf resnext50_32x4d deeplabv3_resnet50 googlenet inception_v3",
    "timm": "seresnet50 ghostnet_100 repvgg_a0 mobileone_s0 dla34 mobilenetv4_conv_small hrnet_w18_small "
    "convnextv2_nano gernet_s ese_vovnet19b_dw selecsls42b beit_base_patch16_224 efficientnetv2_rw_t",
}
NETWORKS = tuple(f"{source}:{name}" for source, names in NETWORKS_OF.items() for name in names.split())
RESULTS = Path(__file__).parents[1] / "results" / "prune-speed.json"


class Case(NamedTuple):
    """A network, the share of its channels that stays, and how they are taken."""

    network: str
    keep: float
    scheme: str

    def __str__(self) -> str:
        asked = "" if (self.keep, self.scheme) == (0.5, "uniform") else f", {1 - self.keep:.0%} off ({self.scheme})"
        return f"{self.network}{asked}"


CASES = (*(Case(name, 0.5, "uniform") for name in NETWORKS), Case("torchvision:resnet34", 0.05, "global"))

Prune = Callable[[nn.Module, Tensor], tuple[nn.Module, dict[str, float]]]


def built(name: str) -> tuple[nn.Module, Tensor]:
    """The network with random weights, in evaluation mode, and an example input."""
    torch.manual_seed(0)
    source, _, short = name.partition(":")
    if source == "timm":
        import timm

        model = timm.create_model(short)
        size = model.pretrained_cfg["input_size"]
    else:
        import torchvision

        options: dict[str, Any] = {"weights": None}
        if short in ("googlenet", "inception_v3"):
            options["init_weights"] = True
        if short.startswith("deeplab"):
            options["weights_backbone"] = None
        model = torchvision.models.get_model(short, **options)
        size = (3, 299, 299) if short == "inception_v3" else (3, 224, 224)
    return model.eval(), torch.randn(1, *size)


# ------------------------------------------------------------------ the two tools


def by_reconv(keep: float, scheme: str) -> Prune:
    from reconv import Budget, choose, score, trace
    from reconv import prune as cut

    def prune(model: nn.Module, example: Tensor) -> tuple[nn.Module, dict[str, float]]:
        clock = Clock()
        graph = clock("trace", lambda: trace(model, example))
        scores = clock("score", lambda: score(graph, "frobenius"))
        budget = Budget(channels=keep)
        plan = clock("choose", lambda: choose(graph, scores, budget, scheme=scheme, coupled=True))
        return clock("prune", lambda: cut(model, plan)), clock.spent

    return prune


def by_torch_pruning(keep: float, scheme: str) -> Prune:
    import torch_pruning as tp

    def prune(model: nn.Module, example: Tensor) -> tuple[nn.Module, dict[str, float]]:
        outputs = {t.shape[1] for t in leaves(model(example))}
        ignored = [
            m
            for m in model.modules()
            if getattr(m, "out_features", None) in outputs or getattr(m, "out_channels", None) in outputs & {21, 1000}
        ]
        heads = {m.qkv: m.num_heads for m in model.modules() if hasattr(m, "qkv") and hasattr(m, "num_heads")}
        clock = Clock()
        pruner = clock(
            "init",
            lambda: tp.pruner.BasePruner(
                model,
                example,
                tp.importance.GroupMagnitudeImportance(p=2),
                global_pruning=scheme == "global",
                pruning_ratio=1 - keep,
                ignored_layers=ignored,
                num_heads=heads,
            ),
        )
        clock("step", pruner.step)
        if hasattr(model, "conv_proj") and hasattr(model, "hidden_dim"):  # torchvision's vision transformers
            model.hidden_dim = model.conv_proj.out_channels
        return model, clock.spent

    return prune


class Clock:
    """CPU seconds by name: one thread is at work, and what else the machine does has no say."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    def __call__(self, what: str, step: Callable[[], Any]) -> Any:
        start = time.process_time()
        result = step()
        self.spent[what] = time.process_time() - start
        return result


# ------------------------------------------------------------------ one process


def work(tool: str, case: Case) -> None:
    """For every line on standard input one run, and its facts as a line on standard output."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    told, sys.stdout = sys.stdout, sys.stderr
    prune = (by_reconv if tool == "reconv" else by_torch_pruning)(case.keep, case.scheme)
    model, example = built(case.network)
    before = facts(model, example)
    print(json.dumps({"ready": True}), file=told, flush=True)
    for _ in sys.stdin:
        row: dict[str, Any] = {}
        try:
            fresh, _ = built(case.network)
            gc.collect()
            small, row["parts"] = prune(fresh, example)
            row["seconds"] = sum(row["parts"].values())
            after = facts(small, example)
            row["left"] = {what: after[what] / before[what] for what in before}
        except Exception as error:
            row["why"] = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        print(json.dumps(row), file=told, flush=True)


def facts(model: nn.Module, example: Tensor) -> dict[str, int]:
    """MACs by PyTorch's counter, parameters, output channels of layers."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(example)
    layers = [m for m in model.modules() if isinstance(m, (nn.Linear, nn.modules.conv._ConvNd))]
    return {
        "macs": counter.get_total_flops() // 2,
        "params": sum(p.numel() for p in model.parameters()),
        "channels": sum(len(layer.weight) for layer in layers),
    }


def leaves(outputs: Any) -> list[Tensor]:
    return [t for t in pytree.tree_leaves(outputs) if isinstance(t, Tensor)]


# ------------------------------------------------------------------ side by side


class Worker:
    """A process that waits for its turns."""

    def __init__(self, tool: str, case: Case):
        command = [sys.executable, __file__, "--worker", tool, "--models", case.network]
        command += ["--keep", str(case.keep), "--scheme", case.scheme]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
        self.dead = "" if "ready" in self._answer(START_SECONDS) else "does not start"

    def turn(self, seconds: float) -> dict[str, Any]:
        if not self.dead:
            assert self.process.stdin is not None
            print(file=self.process.stdin, flush=True)
            row = self._answer(seconds)
            if "seconds" in row or "why" in row:
                return row
            self.dead = row["dead"]
        return {"why": self.dead}

    def _answer(self, seconds: float) -> dict[str, Any]:
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        if not ready:
            self.end()
            return {"dead": f"not done in {seconds:.0f} s"}
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"dead": "its process died"}
        return answer

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def compared(case: Case, given: argparse.Namespace) -> dict[str, Any]:
    """Both tools' runs of one case."""
    workers = {tool: Worker(tool, case) for tool in TOOLS}
    runs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for turn in range(given.runs):
        for tool in TOOLS if turn % 2 == 0 else TOOLS[::-1]:
            if not any("why" in run for run in runs[tool]):
                runs[tool].append(workers[tool].turn(given.seconds))
    for worker in workers.values():
        worker.end()
    return {"case": list(case), **{tool: summed_up(runs[tool]) for tool in TOOLS}}


def summed_up(runs: list[dict[str, Any]]) -> dict[str, Any]:
    seconds = [run["seconds"] for run in runs if "seconds" in run]
    result: dict[str, Any] = {}
    if seconds:
        parts = {
            what: statistics.median(run["parts"][what] for run in runs if "parts" in run) for what in runs[0]["parts"]
        }
        result = {"first": seconds[0], "median": statistics.median(seconds), "runs": seconds, "parts": parts}
    why = next((run["why"] for run in runs if "why" in run), "")
    return {**result, "why": why} if why else {**result, "left": runs[0]["left"]}


def table(rows: list[dict[str, Any]]) -> str:
    """In Markdown: seconds, what is left, and on how many networks we are faster."""
    lines = [
        "| network | reconv first, median (s) | MACs, channels left | Torch-Pruning first, median (s) "
        "| MACs, channels left | times faster: first, median |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        ours, theirs = (row[tool] for tool in TOOLS)
        ratio = ""
        if not ours.get("why") and not theirs.get("why"):
            ratio = f"{theirs['first'] / ours['first']:.1f}, {theirs['median'] / ours['median']:.1f}"
        cells = [cell for side in (ours, theirs) for cell in (spent(side), left(side))]
        lines.append(f"| {str(Case(*row['case'])).replace(':', ': ')} | {' | '.join(cells)} | {ratio} |")
    half = [row for row in rows if row["case"][1:] == [0.5, "uniform"]]
    both = [row for row in half if not any(row[tool].get("why") for tool in TOOLS)]
    for which in ("first", "median"):
        faster = sum(row["reconv"][which] < row["torch-pruning"][which] for row in both)
        lines += ["", f"Faster by the {which} run: {faster} of the {len(both)} networks that both halve."]
    return "\n".join(lines)


def spent(side: dict[str, Any]) -> str:
    return f"{side['first']:.2f}, {side['median']:.2f}" if "median" in side else "-"


def left(side: dict[str, Any]) -> str:
    return side.get("why") or f"{side['left']['macs']:.0%}, {side['left']['channels']:.0%}"


def machine() -> str:
    from reconv.machine import processor

    packages = ", ".join(f"{p} {version(p)}" for p in ("torch", "torchvision", "timm", "torch-pruning"))
    return f"{processor()}, one thread each; Python {platform.python_version()}, {packages}"


def measured(path: Path) -> list[dict[str, Any]]:
    """The rows of an earlier run on this machine with these packages."""
    if not path.exists():
        return []
    kept = json.loads(path.read_text())
    if kept["machine"] != machine():
        sys.exit(f"{path}: measured on {kept['machine']}, this is {machine()}; give --anew, or another --out")
    rows: list[dict[str, Any]] = kept["rows"]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", metavar="NAME", help="these instead of all cases")
    parser.add_argument("--keep", type=float, default=0.5, help="share of their channels that stays")
    parser.add_argument("--scheme", choices=("uniform", "global"), default="uniform")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60, help="for one run")
    parser.add_argument("--out", type=Path, default=RESULTS, help="everything measured, as JSON")
    parser.add_argument("--anew", action="store_true", help="measure again what was measured before")
    parser.add_argument("--table", action="store_true", help="print the table of what was measured before; run nothing")
    parser.add_argument("--worker", choices=TOOLS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    cases = CASES if given.models is None else tuple(Case(name, given.keep, given.scheme) for name in given.models)
    if given.worker:
        work(given.worker, cases[0])
        return
    if given.table:
        kept = json.loads(given.out.read_text())
        print(kept["machine"], "", table(kept["rows"]), sep="\n")
        return
    rows = [] if given.anew else measured(given.out)
    for case in cases:
        if list(case) not in [row["case"] for row in rows]:
            rows.append(compared(case, given))
            given.out.parent.mkdir(parents=True, exist_ok=True)
            given.out.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
            print(table(rows).splitlines()[1 + len(rows)], flush=True)
    print("", machine(), "", table(rows), sep="\n")


if __name__ == "__main__":
    main()
