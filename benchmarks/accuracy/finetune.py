"""Fine-tuning after a repair, on CIFAR-10: what each epoch gains, and which settings do.

    python benchmarks/accuracy/finetune.py --model resnet56 --weights DIR --data-root DIR --epochs 1 2 5 10
    python benchmarks/accuracy/finetune.py --model resnet20 ... --set learning_rate=0.01 --set frozen_norms=true
    python benchmarks/accuracy/finetune.py ... --validation-only     # to choose settings; the test images stay unread

Widths allocated at `--keep` of the MACs, repaired from 1,000 training images without labels, then trained. Each
training is one cell, kept in `--out` with its settings; interrupted, it goes on where it was (`--checkpoints`).

Settings are chosen on the validation split, which no training here sees. The original was trained on those images
too, so that validation favors the start: a gain on it is one in spite of that. The test images are used once, for the
last epoch, or for the start where validation chose it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cells import Cell, Cells, Clock, about_this_run, weights_of
from torch import nn

from reconv import Budget, choose, curves_of, gather_moments, prune, repair, score, trace
from reconv.data import DataSet, calibration_images, load_data
from reconv.provenance import provenance_of
from reconv.training import Session, load_protocol, train
from reconv.training.evaluation import evaluate
from reconv.training.protocol import Protocol, parse_overrides
from reconv.zoo import load_model


def start(options: argparse.Namespace) -> tuple[nn.Module, nn.Module, DataSet]:
    """The original, the pruned and repaired network, and the data."""
    model = load_model(options.model, weights=weights_of(options.model, options.weights)).eval()
    data = load_data("cifar10", options.data_root).with_normalization(provenance_of(model).normalization)
    graph = trace(model, data.example())
    images = calibration_images(data, 1000, seed=0)
    moments = gather_moments(graph, images)
    curves = curves_of(graph, score(graph, options.criterion, moments=moments), moments)
    plan = choose(graph, curves, Budget(macs=options.keep))
    return model, repair(prune(model, plan), plan=plan, reference=model, images=images), data


def measured(
    options: argparse.Namespace, protocol: Protocol, seed: int, networks: tuple[nn.Module, nn.Module, DataSet]
) -> Cell:
    """One training."""
    base, small, data = networks
    clock = Clock()
    teacher = base if protocol.base_teaches and not options.no_teacher else None
    name = "".join(c if c.isalnum() else "-" for c in f"{_text(options)} {protocol.epochs} {seed}")
    folder = None if options.checkpoints is None else options.checkpoints / name
    session = Session(folder=folder, resume=folder is not None, progress=True)
    trained = train(small, data, protocol, seed=seed, teacher=teacher, session=session)
    validation = [round(100 * row.validation.top1, 2) for row in trained.history if row.validation]
    cell: dict[str, Any] = {"validation": validation, "kept start": trained.kept_start}
    if not options.validation_only:
        cell["accuracy"] = round(100 * evaluate(trained.model, data).top1, 2)
    return cell | dict(zip(("cpu s", "clock s"), clock.read(), strict=True))


def _text(options: argparse.Namespace) -> str:
    return " ".join([options.protocol, *options.set, *(["no teacher"] if options.no_teacher else [])])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--weights", type=Path, required=True, help="folder of cifar10-MODEL.safetensors")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--criterion", default="reconstruction")
    parser.add_argument("--keep", type=float, default=0.5, help="share of the MACs")
    parser.add_argument("--epochs", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--protocol", default="after-repair")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--no-teacher", action="store_true")
    parser.add_argument("--validation-only", action="store_true")
    parser.add_argument("--checkpoints", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("finetune.json"))
    options = parser.parse_args()
    cells = Cells(options.out, about_this_run(options.threads), {"original": options.model, "keep": options.keep})
    networks = start(options)
    first = {"validation": round(100 * evaluate(networks[1], networks[2], "validation").top1, 2)}
    if not options.validation_only:
        first["accuracy"] = round(100 * evaluate(networks[1], networks[2]).top1, 2)
    print(f"repaired: {first}", flush=True)
    for epochs in options.epochs:
        for seed in range(options.seeds):
            protocol = load_protocol(options.protocol, "cifar10", parse_overrides(options.set) | {"epochs": epochs})
            name = f"{options.model}, {options.keep:g} of the MACs, {_text(options)}, {epochs} epochs, seed {seed}"
            print(
                f"{name}: {cells.get(name, lambda p=protocol, s=seed: measured(options, p, s, networks))}", flush=True
            )


if __name__ == "__main__":
    main()
