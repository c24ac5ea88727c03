"""Seconds for all three norms of every channel of whole networks: ours, dense, the paper's algorithm, peers.

    python benchmarks/speed/norms.py                         # the table; RECONV_WEIGHTS for the trained networks
    python benchmarks/speed/norms.py --models resnet56 --profile

Ours is timed whole (median of `--runs`, after one to warm up), each network in a process of its own, so that its peak
memory can be read. The others are timed on sampled channels of every geometry and scaled to all channels:

All but our own wall time are CPU seconds.

- dense: `eigvalsh` of G = A A^T from the tap Gram, float64. Where it fits it is also what errors are measured against;
  beyond that, nuclear norms against `exact=True` and spectral ones against their certificate.
- paper: the explicit matrix of a channel, its largest eigenvalue by LOBPCG on A A^T and its singular values, float32.
- fft: Sedghi, Gupta & Long (ICLR 2019), exact for circular padding: all singular values from the Fourier transform of
  the kernel. Shown with its deviation from the zero-padded truth. Stride one only.
- power: the power iteration on the convolution that spectral normalization uses, 100 steps. Spectral norm only,
  stride one, sampled.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import platform
import pstats
import resource
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from reconv.conv import ConvGeometry, ConvMatrix, ConvProblem, channel_norms, channel_norms_of_layers, spectral_bounds
from reconv.conv.norms import NORMS
from reconv.machine import processor
from reconv.zoo import load_model

DENSE_ROWS = 1024  # dense reference up to here
EXPLICIT_BYTES = 1 << 29  # explicit matrix up to here
SAMPLE = 2


def weights(name: str) -> Path | None:
    """The file of a network's trained weights, where there is one."""
    path = Path(os.environ.get("RECONV_WEIGHTS", "")) / f"cifar10-{name}.safetensors"
    return path if path.exists() else None


def trained(name: str) -> nn.Module:
    path = weights(name)
    if path is None:
        sys.exit(f"{name}: set RECONV_WEIGHTS to a folder that holds cifar10-{name}.safetensors")
    return load_model(name, weights=path)


def with_dead_channels(model: nn.Module) -> nn.Module:
    """A trained VGG's faults: an eighth of the channels zero, an eighth at 1e-7, a quarter nearly a single kernel."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            weight = layer.weight.detach()
            part = len(weight) // 8
            weight[:part] = 0
            weight[part : 2 * part] *= 1e-7
            single = weight[2 * part : 4 * part, :1] * torch.randn(2 * part, weight.shape[1], 1, 1)
            weight[2 * part : 4 * part] = 1e-2 * weight[2 * part : 4 * part] + single
    return model


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "resnet20": (lambda: trained("resnet20"), 32),
    "resnet56": (lambda: trained("resnet56"), 32),
    "vgg16_bn": (lambda: load_model("vgg16_bn"), 32),
    "vgg16_bn, trained": (lambda: trained("vgg16_bn"), 32),
    "vgg16_bn, dead channels": (lambda: with_dead_channels(load_model("vgg16_bn")), 32),
    "resnet34": (lambda: load_model("resnet34"), 224),
    "resnet50": (lambda: load_model("resnet50"), 224),
    "mobilenet_v2": (lambda: load_model("mobilenet_v2"), 224),
}
TRAINED = {"resnet20": "resnet20", "resnet56": "resnet56", "vgg16_bn, trained": "vgg16_bn"}  # need weights


def problems_of(name: str) -> list[ConvProblem]:
    """Every convolution of a network with what it sees, measured from a forward pass."""
    torch.manual_seed(0)
    build, size = NETWORKS[name]
    model, found = build().eval(), []

    def note(path: str) -> Callable[..., None]:
        def hook(layer: nn.Conv2d, inputs: tuple[Tensor], _: Tensor) -> None:
            geometry = ConvGeometry.of(layer, inputs[0].shape[2:])
            found.append(ConvProblem(layer.weight.detach(), geometry, layer.groups, path))

        return hook

    for path, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(note(path))
    with torch.no_grad():
        model(torch.zeros(1, 3, size, size))
    return found


def seconds(work: Callable[[], object], clock: Callable[[], float] = time.process_time) -> float:
    """CPU seconds by default: what else the machine does distorts them least."""
    begin = clock()
    work()
    return clock() - begin


def by_geometry(problems: Iterable[ConvProblem]) -> dict[tuple[ConvGeometry, int], list[ConvProblem]]:
    """Layers of the same geometry and number of stacked channels: their channels cost the same."""
    groups = defaultdict(list)
    for problem in problems:
        groups[problem.geometry, problem.weight.shape[1]].append(problem)
    return groups


def sampled(problems: list[ConvProblem], cost: Callable[[ConvProblem], float | None]) -> tuple[float, int]:
    """Seconds for all channels from those for a few of each geometry, and channels of those that are out of reach."""
    total, missing = 0.0, 0
    for group in by_geometry(problems).values():
        channels = sum(len(problem.weight) for problem in group)
        middle = group[len(group) // 2]
        step = max(1, len(middle.weight) // SAMPLE)
        few = replace(middle, weight=middle.weight[::step][:SAMPLE], groups=1)
        each = cost(few)
        total, missing = (total, missing + channels) if each is None else (total + each * channels, missing)
    return total, missing


def dense_cost(few: ConvProblem) -> float | None:
    """Seconds a channel for the eigenvalues of G."""
    rows = few.geometry.output_size[0] * few.geometry.output_size[1]
    if rows > 4 * DENSE_ROWS:
        return None
    weight = few.weight if rows <= DENSE_ROWS else few.weight[:1]
    return seconds(lambda: torch.linalg.eigvalsh(ConvMatrix(weight, few.geometry).gram())) / len(weight)


def explicit_matrix(weight: Tensor, geometry: ConvGeometry) -> Tensor:
    """One channel's kernels [stacked, k1, k2] written out: rows are output positions, columns inputs."""
    (top, bottom), (left, right) = geometry.padding
    columns = torch.arange(weight.shape[0] * geometry.input_size[0] * geometry.input_size[1], dtype=torch.float64)
    numbered = columns.add(1).reshape(1, weight.shape[0], *geometry.input_size)  # 0 is padding
    numbered = nn.functional.pad(numbered, (left, right, top, bottom))
    read = nn.functional.unfold(numbered, geometry.kernel, dilation=geometry.dilation, stride=geometry.stride)[0].T
    A = weight.new_zeros(len(read), len(columns) + 1)
    return A.scatter_(1, read.long(), weight.flatten().expand(len(read), -1))[:, 1:]


def paper_cost(few: ConvProblem) -> float | None:
    """Seconds a channel by the paper's way: the matrix itself, LOBPCG, singular values."""
    _, rows, columns = ConvMatrix(few.weight[:1], few.geometry).shape
    if 4 * rows * columns > EXPLICIT_BYTES:
        return None

    def work() -> None:
        A = explicit_matrix(few.weight[0], few.geometry)
        if rows >= 9:
            torch.lobpcg(A @ A.T, k=1, niter=50)
        torch.linalg.svdvals(A)

    return seconds(work)


def fft_norms(problem: ConvProblem) -> dict[str, Tensor]:
    """Spectral and nuclear norm, were the padding circular."""
    symbol = torch.fft.fft2(problem.weight, s=problem.geometry.input_size).abs().square().sum(1).sqrt()
    return {"spectral": symbol.amax((1, 2)), "nuclear": symbol.sum((1, 2))}


def power_norms(problem: ConvProblem, steps: int = 100) -> Tensor:
    """Spectral norm by power iteration."""
    matrix = ConvMatrix(problem.weight, problem.geometry)
    x = torch.randn(len(problem.weight), *matrix.rows)
    for _ in range(steps):
        x = matrix.matvec(matrix.rmatvec(x))
        x = x / x.flatten(1).norm(dim=1)[:, None, None]
    return matrix.rmatvec(x).flatten(1).norm(dim=1)


def worst_errors(problems: list[ConvProblem]) -> dict[str, float]:
    """Largest relative errors over sampled channels of every geometry, dead ones left out."""
    worst = dict.fromkeys(NORMS, 0.0)
    for group in by_geometry(problems).values():
        rows = group[0].geometry.output_size[0] * group[0].geometry.output_size[1]
        few = torch.cat([problem.weight[:: max(1, len(problem.weight) // SAMPLE)] for problem in group])
        few = few[few.flatten(1).norm(dim=1) > 0][: 8 * SAMPLE if rows <= DENSE_ROWS else 2]
        if not len(few):
            continue
        geometry = group[0].geometry
        found = channel_norms(few, geometry)
        if rows <= DENSE_ROWS:
            scale = few.double().flatten(1).norm(dim=1)
            gram = ConvMatrix(few.double() / scale[:, None, None, None], geometry).gram()
            sigma = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt() * scale[:, None]
            truth = {"spectral": sigma[:, -1], "nuclear": sigma.sum(1), "frobenius": sigma.norm(dim=1)}
        else:
            exact = channel_norms(few, geometry, norms=("nuclear",), exact=True)
            truth = {"nuclear": exact["nuclear"], "spectral": spectral_bounds(few, geometry)[1]}
        for norm, value in truth.items():
            worst[norm] = max(worst[norm], float(((found[norm] - value).abs() / value).max()))
    return worst


def measure(name: str, runs: int) -> dict[str, object]:
    """One line of the table."""
    problems = problems_of(name)
    channel_norms_of_layers(problems[-1:])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    channel_norms_of_layers(problems)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    wall, cpu = [], []
    for _ in range(runs):
        busy = time.process_time()
        wall.append(seconds(lambda: channel_norms_of_layers(problems), time.perf_counter))
        cpu.append(time.process_time() - busy)
    torch.set_num_threads(1)  # the others on one core: threads that wait for one another would count as busy
    simple = [problem for problem in problems if problem.geometry.stride == (1, 1) and problem.groups == 1]
    small = [problem for problem in simple if problem.geometry.kernel != (1, 1)]
    ours = channel_norms_of_layers(small)
    start = time.process_time()
    circular = [fft_norms(problem) for problem in small]
    fft = time.process_time() - start if small else 0.0

    def deviation(norm: str) -> float:
        pairs = [(mine[norm], other[norm]) for mine, other in zip(ours, circular)]
        return max((float(((other - mine).abs() / mine)[mine > 0].max()) for mine, other in pairs), default=0.0)

    power_off = 0.0

    def power_cost(few: ConvProblem) -> float:
        nonlocal power_off
        begin = time.process_time()
        found = power_norms(few)
        spent = (time.process_time() - begin) / len(few.weight)
        truth = channel_norms(few.weight, few.geometry, norms=("spectral",))["spectral"]
        off = ((found - truth).abs() / truth)[truth > 0]
        power_off = max(power_off, float(off.max()) if len(off) else 0.0)
        return spent

    power, _ = sampled(small, power_cost)

    return {
        "network": name,
        "channels": sum(len(problem.weight) for problem in problems),
        "wall": statistics.median(wall),
        "cpu": statistics.median(cpu),
        "peak_mb": peak,
        "errors": worst_errors(problems),
        "estimates": {n: max(float(x.errors[n].max()) for x in channel_norms_of_layers(problems)) for n in NORMS},
        "dense": sampled(problems, dense_cost),
        "paper": sampled(problems, paper_cost),
        "fft": (fft, deviation("spectral")),
        "fft_nuclear": deviation("nuclear"),
        "power": (power, power_off),
    }


def profile(name: str) -> None:
    """Where the time goes: CPU seconds of one thread, by step."""
    problems = problems_of(name)
    channel_norms_of_layers(problems[-1:])
    torch.set_num_threads(1)
    profiler = cProfile.Profile(timer=time.thread_time)
    profiler.runcall(channel_norms_of_layers, problems)
    table = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    steps = {
        "tap Grams": ("taps.py", "tap_gram"),
        "dense eigenvalues": ("dense.py", "singular_values"),
        "nuclear: pieces": ("nuclear.py", "contributions"),
        "nuclear: seam": ("seam.py", "nuclear_norm"),
        "nuclear: cut": ("cut.py", "nuclear_norm"),
        "spectral: starting waves": ("waves.py", "leading_waves"),
        "spectral: filter": ("spectral.py", "filtered"),
        "spectral: Rayleigh-Ritz": ("spectral.py", "of"),
        "everything": ("norms.py", "channel_norms_of_layers"),
    }
    kernels = {"eigvalsh": "linalg_eigvalsh", "eigh": "linalg_eigh", "conv2d": "conv2d", "cholesky": "linalg_cholesky"}
    print(f"{name}: CPU seconds of one thread, cumulative")
    for label, (file, function) in steps.items():
        spent = sum(row[3] for key, row in table.items() if key[0].endswith(f"conv/{file}") and key[2] == function)
        print(f"  {label:28s} {spent:6.3f}")
    print("of it inside the library routines, the floor of the arithmetic as it stands:")
    for label, function in kernels.items():
        spent = sum(row[2] for key, row in table.items() if key[0] == "~" and f"{function}>" in key[2])
        print(f"  {label:28s} {spent:6.3f}")


def clock(value: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if value >= 2 * size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.2f} s"


def line(row: dict) -> str:
    def other(key: str) -> str:
        total, missing = row[key]
        part = f" + {missing} ch. out of reach" if missing else ""
        return f"{clock(total)}{part} ({total / row['cpu']:.0f}x)"

    errors = " / ".join(f"{row['errors'][norm]:.0e}" for norm in NORMS)
    fft, power = row["fft"], row["power"]
    peers = [
        f"{clock(fft[0])}, off by {fft[1]:.0%} / {row['fft_nuclear']:.0%}",
        f"{clock(power[0])}, off by {power[1]:.0e}",
    ]
    cells = [
        row["network"],
        row["channels"],
        f"**{row['wall']:.2f}** ({row['cpu']:.2f} CPU)",
        f"{row['peak_mb']:.0f}",
        errors,
        other("dense"),
        other("paper"),
        *(peers if fft[0] else ["no layer that it applies to"] * 2),
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", choices=NETWORKS, help="default: all that there are weights for")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--profile", action="store_true", help="where the time goes, instead of the table")
    parser.add_argument("--json", action="store_true", help="one network's figures, as the table's own processes give")
    arguments = parser.parse_args()
    if arguments.models is None:
        arguments.models = [name for name in NETWORKS if name not in TRAINED or weights(TRAINED[name])]
    if arguments.profile:
        for name in arguments.models:
            profile(name)
        return
    if arguments.json:
        print(json.dumps(measure(arguments.models[0], arguments.runs)))
        return
    print(f"All three norms of every channel; median of {arguments.runs} runs. Factors compare CPU seconds.")
    print(f"{processor()}, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f};")
    print(f"Python {platform.python_version()}, PyTorch {torch.__version__}.\n")
    print("| network | channels | ours, s | extra MB | worst error spec / nuc / fro | dense | paper | fft | power |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in arguments.models:
        command = [sys.executable, __file__, "--json", "--models", name, "--runs", str(arguments.runs)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        print(line(json.loads(done.stdout)), flush=True)


if __name__ == "__main__":
    main()
