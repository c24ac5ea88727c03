"""What a GPU changes: the same results as on the CPU, how much sooner, and trainings that are too long without one.

    python benchmarks/gpu/gpu.py --weights DIR --data-root DIR --out DIR            # at most 8 minutes; call it again
    python benchmarks/gpu/gpu.py ... --device cpu --tiny                            # tries every part in a minute

Each part is written to `gpu.json` in `--out` as soon as it is there; trainings are runs of their own beside it, with a
checkpoint an epoch. When the minutes are over, the training that runs is saved and ended; the same command goes on.

- agreement: scores, traces, repairs and twenty training steps on the device against the CPU: relative differences, and
  how many times sooner. Without TF32, whose ten bits of mantissa are not what is compared here.
- latency: ResNet-56, whole and at half its MACs, interleaved, 1 and 256 images.
- throughput: images a second of the training loop and of a bare loop: float32, bf16, channels last or not, compiled.
- trainings: ResNet-56 at half its MACs, repaired and trained for 10 and 40 epochs; the paper's protocol, 80 epochs from
  a network that was pruned only, at its configuration 2, by the nuclear norm and by l1.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "accuracy"))
from cells import Cell, Cells, about_this_run, weights_of

from reconv import Budget, choose, load_model, measure_latency, prune, repair, score, trace
from reconv.compression import Compression
from reconv.data import calibration_images, load_data
from reconv.machine import device_name
from reconv.runs import RunConfig, RunOptions, run
from reconv.steps import Finetune, Repair
from reconv.training import Protocol, Session, device_named, train
from reconv.training.interrupt import Interrupted

_TRAIN = Path(__file__).resolve().parents[1] / "speed" / "train.py"
_WAYS = {"float32": (), "bf16": ("--precision", "bf16"), "bf16, compiled": ("--precision", "bf16", "--compile")}


class Timed:
    """Seconds that a function takes on a device, after a first call that warms it up."""

    def __init__(self, device: torch.device, function: Callable[[], Any]) -> None:
        function()
        self._wait(device)
        start = time.perf_counter()
        self.result = function()
        self._wait(device)
        self.seconds = time.perf_counter() - start

    @staticmethod
    def _wait(device: torch.device) -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)


class Networks:
    """The network, its data, and half of it."""

    def __init__(self, options: argparse.Namespace) -> None:
        name = "resnet20" if options.tiny else "resnet56"
        self.base = load_model(name, weights=weights_of(name, options.weights)).eval()
        self.data = load_data("cifar10", options.data_root)
        self.images = calibration_images(self.data, 40 if options.tiny else 1000, seed=0)
        self.graph = trace(self.base, self.data.example())
        self.plan = choose(self.graph, score(self.graph, "l1"), Budget(macs=0.5))


def relative(a: Tensor, b: Tensor) -> float:
    a, b = a.detach().double().cpu(), b.detach().double().cpu()
    return float((a - b).norm() / b.norm().clamp_min(1e-30))


def both(device: torch.device, function: Callable[[torch.device], Any], compare: Callable[[Any, Any], float]) -> Cell:
    """A function on the CPU and on the device: the difference of its results, and the seconds of each."""
    on_cpu, there = (Timed(where, lambda w=where: function(w)) for where in (torch.device("cpu"), device))
    return {
        "difference": compare(there.result, on_cpu.result),
        "cpu s": round(on_cpu.seconds, 3),
        "device s": round(there.seconds, 3),
        "times sooner": round(on_cpu.seconds / there.seconds, 2),
    }


def norms(networks: Networks, device: torch.device) -> Cell:
    graph = {where: trace(*_on(networks, torch.device(where))) for where in {"cpu", str(device)}}

    def scores(where: torch.device) -> dict[str, Any]:
        return dict(score(graph[str(where)], "nuclear").values)

    def largest(a: dict[str, Any], b: dict[str, Any]) -> float:
        return max(relative(torch.as_tensor(a[name]), torch.as_tensor(b[name])) for name in b)

    return both(device, scores, largest)


def tracing(networks: Networks, device: torch.device) -> Cell:
    def groups(where: torch.device) -> list[tuple[str, int]]:
        return [(group.name, len(group.units)) for group in trace(*_on(networks, where)).groups]

    return both(device, groups, lambda a, b: float(a != b))


def repairing(networks: Networks, device: torch.device) -> Cell:
    def outputs(where: torch.device) -> Tensor:
        base, _ = _on(networks, where)
        plan = choose(trace(base, networks.data.example().to(where)), score(networks.graph, "l1"), Budget(macs=0.5))
        images = networks.images.to(where)
        with torch.no_grad():
            return repair(prune(base, plan), plan=plan, reference=base, images=images).eval()(images[:64])

    return both(device, outputs, relative)


def training(networks: Networks, device: torch.device) -> Cell:
    protocol = Protocol(epochs=1, learning_rate=1e-3, batch_size=32, padding=4, flip=True)
    few = replace(
        networks.data, train=networks.data.train.subset(torch.arange(64 if len(networks.images) < 100 else 640))
    )
    few = replace(few, validation=few.train.subset(torch.arange(0)))

    def weights(where: torch.device) -> Tensor:
        base, _ = _on(networks, where)
        trained = train(base, few, protocol, session=Session(device=str(where), progress=False)).model
        return torch.cat([value.detach().flatten().cpu() for value in trained.parameters()])

    return both(device, weights, relative)


def latency(networks: Networks, device: torch.device) -> Cell:
    models: list[nn.Module] = [model.to(device) for model in (networks.base, prune(networks.base, networks.plan))]
    found: Cell = {}
    for images in (1, 256):
        times = measure_latency(models, torch.randn(images, *networks.data.input_size, device=device))
        milliseconds = [round(1000 * latency.median, 3) for latency in times]
        found[f"{images} images, ms"] = milliseconds
        found[f"{images} images, after / before"] = round(milliseconds[1] / milliseconds[0], 3)
    networks.base.cpu()
    return found


def throughput(options: argparse.Namespace, way: tuple[str, ...]) -> Cell:
    size = ("--batch-size", "16", "--steps", "2", "--rounds", "1") if options.tiny else ("--batch-size", "512")
    model = "resnet20" if options.tiny else "resnet56"
    command = [sys.executable, str(_TRAIN), "--model", model, "--device", options.device, *size, *way]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1][:200]}
    found = json.loads(done.stdout)
    return {"images a second": found["images_per_second"], "ours / bare": found["ratio"]}


def trained(options: argparse.Namespace, folder: Path, compression: Compression) -> Cell:
    """A run with its training, in a folder of its own; it is gone on with where an earlier call ended it."""
    model = "resnet20" if options.tiny else "resnet56"
    config = RunConfig(
        model=model,
        weights=str(weights_of(model, options.weights)),
        data_set="CIFAR10",
        data_root=str(options.data_root),
        compression=compression,
        device=options.device,
    )
    start = time.perf_counter()
    facts = run(config, folder, RunOptions(resume=True)).facts
    figures = {"before": facts.before.accuracy, "after": facts.after.accuracy}
    accuracies = {name: None if value is None else round(100 * value, 2) for name, value in figures.items()}
    return accuracies | {"s of the last call": round(time.perf_counter() - start, 1)}


def trainings(options: argparse.Namespace) -> dict[str, Compression]:
    """The trainings by name, the shortest first."""
    if options.tiny:
        tiny = Finetune("after-repair", epochs=0)
        return {"tiny": Compression("l1", after=(Repair(images=20), tiny), verify=False, images=20)}
    allocated = Compression("reconstruction", scheme="allocated", budget=Budget(macs=0.5), verify=False)
    repaired = {
        f"after-repair, {epochs} epochs": replace(
            allocated, after=(Repair(), Finetune("after-repair", epochs=epochs, changes={"precision": "bf16"}))
        )
        for epochs in (10, 40)
    }
    papers = {
        f"the paper's protocol, configuration 2, {criterion}": Compression(
            criterion, recipe=2, after=(Finetune("paper-cifar"),), verify=False
        )
        for criterion in ("nuclear", "l1")
    }
    return repaired | papers


def _on(networks: Networks, where: torch.device) -> tuple[nn.Module, Tensor]:
    return networks.base.to(where), networks.data.example().to(where)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="folder of cifar10-MODEL.safetensors")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of results and checkpoints")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--tiny", action="store_true", help="ResNet-20 and a few images, to try the script")
    options = parser.parse_args()
    signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGTERM))  # a training saves and ends then
    signal.setitimer(signal.ITIMER_REAL, 60 * options.minutes)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    device = device_named(options.device)
    cells = Cells(options.out / "gpu.json", about_this_run(torch.get_num_threads()), {"device": device_name(device)})
    networks = Networks(options)
    parts: dict[str, Callable[[], Cell]] = {
        function.__name__: lambda f=function: f(networks, device)
        for function in (norms, tracing, repairing, training, latency)
    }
    parts |= {f"throughput, {name}": lambda w=way: throughput(options, w) for name, way in _WAYS.items()}
    parts |= {
        name: lambda n=name, c=compression: trained(options, options.out / n.replace(" ", "-").replace(",", ""), c)
        for name, compression in trainings(options).items()
    }
    try:
        for name, part in parts.items():
            cells.get(name, part)
    except Interrupted as interrupted:
        print(f"{interrupted}\nthe minutes are over; the same command goes on", flush=True)


if __name__ == "__main__":
    main()
