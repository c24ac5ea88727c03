"""The smallest network that loses at most so many points: what is found, its bound, and how it holds on other images.

    python benchmarks/accuracy/max_drop.py --weights DIR --data-root DIR --max-drop 1
    python benchmarks/accuracy/max_drop.py --network mobilenet_v2 --weights FILE --photographs FOLDER --max-drop 5

Of CIFAR-10 half of the test images are held out, to search and to certify on (`--held-out validation`: 5,000 training
images, which published weights have been trained on), and the other half are the other images. Of photographs, one of
each class, every fourth is kept as another image, and of the rest half are held out; no label is read. No network is
trained. The other images are looked at once, when the network is found and certified.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from cells import Cell, Cells, Clock, about_this_run, weights_of

import reconv
from reconv.data import DataSet, as_data_set, load_data
from reconv.data.randomness import generator
from reconv.drop import Judge
from reconv.errors import ReconvError
from reconv.quality import quality_for
from reconv.runlog import RunLog


class Shown(RunLog):
    """Prints each stage."""

    def end(self, row: Any) -> None:
        if row is not None:
            print(f"  {row.stage}: {row.seconds:.0f} s, {row.note}", flush=True)


def cifar(options: argparse.Namespace) -> tuple[torch.nn.Module, DataSet, DataSet]:
    """A network, its images, and others."""
    data = load_data("cifar10", options.data_root)
    model = reconv.load_model(options.network, weights=weights_of(options.network, options.weights))
    if options.held_out == "test":
        order = torch.randperm(len(data.test), generator=generator(options.seed, "halves"))
        first, second = order.chunk(2)
        data = replace(data, validation=data.test.subset(first), test=data.test.subset(second))
    return model, data, data


def photographs(options: argparse.Namespace) -> tuple[torch.nn.Module, Any, DataSet]:
    """A network, photographs without labels, and others."""
    import photographs as benchmark

    model, prepare = benchmark.load(options.network, options.weights)
    images = benchmark.photographs(options.photographs, prepare)
    other = torch.arange(len(images)) % 4 == options.seed % 4
    return model, images[~other], as_data_set(images[other])


def measured(options: argparse.Namespace, max_drop: float) -> Cell:
    model, data, others = (cifar if options.photographs is None else photographs)(options)
    compression = reconv.Compression(
        "reconstruction",
        budget=reconv.Budget(max_drop=max_drop, minimize=options.minimize),
        scheme="allocated",
        images=options.images,
        after=(reconv.Repair(),),
        seed=options.seed,
    )
    clock = Clock()
    try:
        result = reconv.compress(model, data, compression, log=Shown())
    except ReconvError as error:
        return {"refused": str(error), "cpu s": round(clock.read()[0], 1)}
    certificate = result.certificate
    assert certificate is not None
    split = others.test if len(others.test) else others.train
    others = replace(others, validation=split, test=split.subset(torch.arange(0)))
    held = Judge(model, quality_for(model, others, None, None)).of(result.model)
    low, high = held.interval(0.975)
    return {
        "certificate": str(certificate),
        "holds": certificate.holds,
        "share": certificate.share,
        "macs left": round(result.plan.macs[1] / result.plan.macs[0], 4),
        "parameters left": round(result.plan.params[1] / result.plan.params[0], 4),
        "tried": [list(row) for row in certificate.tried],
        "other images": held.images,
        "lost on them": round(100 * held.value, 2),
        "interval": [round(100 * low, 2), round(100 * high, 2)],
        "cpu s": round(clock.read()[0], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet56", help="of CIFAR-10; or mobilenet_v2, or a network of timm")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--photographs", type=Path)
    parser.add_argument("--held-out", choices=("test", "validation"), default="test")
    parser.add_argument("--max-drop", type=float, nargs="+", default=[1.0])
    parser.add_argument("--minimize", default="macs")
    parser.add_argument("--images", type=int, default=1000, help="to calibrate on, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/max_drop"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    where = options.held_out if options.photographs is None else "photographs"
    settings = {"images": options.images, "minimize": options.minimize, "seed": options.seed}
    cells = Cells(options.out / f"{options.network}-{where}.json", about_this_run(options.threads), settings)
    for max_drop in options.max_drop:
        cells.get(f"max_drop={max_drop:g}", lambda drop=max_drop: measured(options, drop))


if __name__ == "__main__":
    main()
