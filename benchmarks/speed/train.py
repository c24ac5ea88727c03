"""Images a second of the training loop: against a bare PyTorch loop of the same recipe, and of a pruned network
against its base.

All train on random images of CIFAR's size, in turns, so that other work on the machine slows all alike; what counts is
the ratio of the medians. The bare loop has the same model, augmentation, precision and memory order and nothing else:
no checkpoints, no validation, no figures. With `--keep`, the share of the MACs that stays, base and pruned network are
trained by both loops; "of_promise" is how much faster the pruned one is, divided by how many times fewer MACs it has.

    python benchmarks/speed/train.py --model resnet20 --batch-size 128 --precision bf16
    python benchmarks/speed/train.py --model resnet56 --keep 0.5 --coupled --steps 3
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from reconv.cost import profile
from reconv.data import DataSet, TensorSplit
from reconv.data.augmentation import crop, flip
from reconv.graph import trace
from reconv.machine import device_name
from reconv.plan import Budget, Limits, choose
from reconv.provenance import Normalization
from reconv.saliency import score
from reconv.surgery import prune
from reconv.training import Protocol, Session, device_named, train
from reconv.zoo import load_model

_OPERATORS = 6


def random_data(images: int) -> DataSet:
    split = TensorSplit(torch.randint(0, 256, (images, 3, 32, 32), dtype=torch.uint8), torch.randint(0, 10, (images,)))
    none = split.subset(torch.arange(0))
    names = tuple("0123456789")
    return DataSet("random", names, (3, 32, 32), Normalization((0.5,) * 3, (0.25,) * 3), split, none, none)


def ours(model: nn.Module, data: DataSet, protocol: Protocol, device: torch.device) -> Iterator[None]:
    """A whole training of one epoch a round, its setting up included."""
    while True:
        train(model, data, protocol, session=Session(device=str(device), progress=False))
        yield


def bare(model: nn.Module, data: DataSet, protocol: Protocol, device: torch.device) -> Iterator[None]:
    """The same recipe in the fewest lines."""
    assert isinstance(data.train, TensorSplit)
    images, labels = data.train.images.to(device), data.train.labels.to(device)
    model = model.to(device).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(
        model.parameters(), protocol.learning_rate, momentum=protocol.momentum, weight_decay=protocol.weight_decay
    )
    half = protocol.precision == "bf16"
    n = protocol.batch_size

    def augmented(batch: Tensor) -> Tensor:
        batch = crop(batch, 4, torch.randint(0, 9, (len(batch), 2), device=device))
        batch = flip(batch, torch.rand(len(batch), device=device) < 0.5)
        return ((batch.float() - 127.5) / 63.75).contiguous(memory_format=torch.channels_last)

    while True:
        for chosen in torch.randperm(len(labels), device=device).split(n):
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                loss = nn.functional.cross_entropy(model(augmented(images[chosen])), labels[chosen])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        yield


def seconds(work: Iterator[None], clock: Callable[[], float]) -> float:
    start = clock()
    next(work)
    return clock() - start


WAYS: dict[str, Callable[..., Iterator[None]]] = {"ours": ours, "bare": bare}


def smaller(model: nn.Module, arguments: argparse.Namespace) -> nn.Module:
    """The model with random channels removed; widths, not weights, decide the time."""
    graph = trace(model, torch.zeros(1, 3, 32, 32))
    limits = Limits(multiple=arguments.multiple)
    return prune(
        model,
        choose(graph, score(graph, "random"), Budget(macs=arguments.keep), coupled=arguments.coupled, limits=limits),
    )


def operators(model: nn.Module, data: DataSet, protocol: Protocol, device: torch.device) -> dict[str, float]:
    """Milliseconds a step of the bare loop spends in the operators that take most, by PyTorch's profiler."""
    work = bare(copy.deepcopy(model), data, protocol, device)
    next(work)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        next(work)
    steps = len(data.train) / protocol.batch_size
    found = sorted(profiler.key_averages(), key=lambda event: -event.self_cpu_time_total)[:_OPERATORS]
    return {event.key.removeprefix("aten::"): round(event.self_cpu_time_total / 1000 / steps, 1) for event in found}


def measure(arguments: argparse.Namespace) -> dict[str, object]:
    device = device_named(arguments.device)
    data = random_data(arguments.batch_size * arguments.steps)
    protocol = Protocol(
        epochs=1,
        learning_rate=0.001,
        batch_size=arguments.batch_size,
        padding=4,
        flip=True,
        precision=arguments.precision,
        compile=arguments.compile,
    )
    models = {"base": load_model(arguments.model)}
    if arguments.keep:
        models["pruned"] = smaller(models["base"], arguments)
    running = {
        f"{name}, {size}": way(copy.deepcopy(model), data, protocol, device)
        for size, model in models.items()
        for name, way in WAYS.items()
    }
    times: dict[str, list[float]] = {name: [] for name in running}
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter  # a thread's own seconds, whatever else the core does
    for work in running.values():
        seconds(work, clock)  # warm up
    for _ in range(arguments.rounds):
        for name, work in running.items():
            times[name].append(seconds(work, clock))
    rates = {name: len(data.train) / statistics.median(values) for name, values in times.items()}
    result: dict[str, object] = {
        "model": arguments.model,
        "batch_size": arguments.batch_size,
        "precision": arguments.precision,
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "clock": clock.__name__,
        "torch": torch.__version__,
        "rounds": arguments.rounds,
        "steps_per_round": arguments.steps,
        "images_per_second": {name: round(rate, 1) for name, rate in rates.items()},
        "ratio": round(rates["ours, base"] / rates["bare, base"], 3),
    }
    if arguments.keep:
        if device.type == "cpu":
            result["milliseconds_a_step"] = {
                name: operators(model, data, protocol, device) for name, model in models.items()
            }
        macs = {name: profile(trace(model, torch.zeros(1, 3, 32, 32))).macs for name, model in models.items()}
        promise = macs["base"] / macs["pruned"]
        faster = {name: rates[f"{name}, pruned"] / rates[f"{name}, base"] for name in WAYS}
        result |= {
            "keep": arguments.keep,
            "coupled": arguments.coupled,
            "multiple": arguments.multiple,
            "macs": macs,
            "fewer_macs": round(promise, 3),
            "faster": {name: round(value, 3) for name, value in faster.items()},
            "of_promise": {name: round(value / promise, 3) for name, value in faster.items()},
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--compile", action="store_true", help="ours through torch.compile")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=20, help="in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", type=float, help="share of the MACs that stays in a pruned network, such as 0.5")
    parser.add_argument("--coupled", action="store_true", help="cut residual streams too")
    parser.add_argument("--multiple", type=int, default=1, help="of kept channels")
    print(json.dumps(measure(parser.parse_args()), indent=2))


if __name__ == "__main__":
    main()
