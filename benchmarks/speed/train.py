"""Images a second of the training loop, against a bare PyTorch loop of the same recipe.

Both train on random images of CIFAR's size, in turns, so that other work on the machine slows both alike;
what counts is the ratio of the medians. The bare loop has the same model, augmentation, precision and memory
order and nothing
else: no checkpoints, no validation, no figures.

    python benchmarks/speed/train.py --model resnet20 --batch-size 128 --precision bf16
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from reconv.data import DataSet, TensorSplit
from reconv.data.augment import crop, flip
from reconv.provenance import Normalization
from reconv.training import Protocol, Session, device_named, train
from reconv.zoo import load_model


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


def seconds(work: Iterator[None]) -> float:
    start = time.perf_counter()
    next(work)
    return time.perf_counter() - start


def measure(arguments: argparse.Namespace) -> dict[str, object]:
    device = device_named(arguments.device)
    data = random_data(arguments.batch_size * arguments.steps)
    protocol = Protocol(
        epochs=1,
        learning_rate=0.01,
        batch_size=arguments.batch_size,
        padding=4,
        flip=True,
        precision=arguments.precision,
    )
    ways: dict[str, Callable[..., Iterator[None]]] = {"ours": ours, "bare": bare}
    running = {name: way(load_model(arguments.model), data, protocol, device) for name, way in ways.items()}
    for work in running.values():
        seconds(work)  # warm up
    times = {name: [] for name in running}
    for _ in range(arguments.rounds):
        for name, work in running.items():
            times[name].append(seconds(work))
    rates = {name: len(data.train) / statistics.median(values) for name, values in times.items()}
    return {
        "model": arguments.model,
        "batch_size": arguments.batch_size,
        "precision": arguments.precision,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "rounds": arguments.rounds,
        "steps_per_round": arguments.steps,
        "images_per_second": {name: round(rate, 1) for name, rate in rates.items()},
        "ratio": round(rates["ours"] / rates["bare"], 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=20, help="in a round")
    parser.add_argument("--rounds", type=int, default=5)
    print(json.dumps(measure(parser.parse_args()), indent=2))


if __name__ == "__main__":
    main()
