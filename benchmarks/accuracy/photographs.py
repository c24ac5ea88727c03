"""Networks of ImageNet's size, pruned and repaired on photographs without labels and without training.

    python benchmarks/accuracy/photographs.py --network mobilenet_v2 --weights FILE --photographs FOLDER
    python benchmarks/accuracy/photographs.py --network tf_efficientnet_lite0 --weights FILE --photographs FOLDER

`FOLDER/<class>/*.jpg`, the classes' folders in the order of the network's outputs. Every second folder calibrates, the
others test, then the halves swap. **Agreement** is the share of predictions that are the original network's, on the
photographs that nothing has looked at; top-1 is given beside it, and is no ImageNet accuracy. Seconds are CPU time of
statistics, trials, curves, choice and repair; memory is the peak above what the process had with the network and the
photographs loaded. Results are kept in `--out` as they come.
"""

from __future__ import annotations

import argparse
import resource
import statistics
from functools import partial
from pathlib import Path
from typing import Any

import torch
from cells import Cell, Cells, Clock, about_this_run
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms

import reconv
from reconv.calibration import split_for_curves
from reconv.data.randomness import generator
from reconv.memory_pool import keep_freed_memory
from reconv.refit.sensitivity import divergence

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


def load(network: str, weights: Path) -> tuple[nn.Module, transforms.Compose]:
    """A network, and how photographs are prepared for it."""
    if network == "mobilenet_v2":
        import torchvision

        model = torchvision.models.mobilenet_v2()
        model.load_state_dict(torch.load(weights, weights_only=True))
        resize, normalization = transforms.Resize(256), IMAGENET
    else:
        import timm

        model = timm.create_model(network, pretrained=False)
        saved = torch.load(weights, weights_only=True)
        own = model.state_dict()
        names = [[name for name in state if not name.endswith("num_batches_tracked")] for state in (own, saved)]
        model.load_state_dict({**own, **{a: saved[b] for a, b in zip(*names, strict=True)}})
        resize, normalization = transforms.Resize(256, transforms.InterpolationMode.BICUBIC), HALF
    steps = [resize, transforms.CenterCrop(224), transforms.ToTensor(), transforms.Normalize(*normalization)]
    return model.eval(), transforms.Compose(steps)


def photographs(folder: Path, prepare: transforms.Compose) -> Tensor:
    """One photograph of every class, in the order of the classes."""
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    files = [sorted(path.glob("*.jpg"))[0] for path in classes]
    return torch.stack([prepare(Image.open(file).convert("RGB")) for file in files])


@torch.inference_mode()
def outputs(model: nn.Module, images: Tensor) -> Tensor:
    return torch.cat([model(part) for part in images.split(25)])


def peak() -> float:
    """GiB that the process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


class Half:
    """One half of the photographs to calibrate on, the other to test on."""

    def __init__(self, model: nn.Module, images: Tensor, first: int, options: argparse.Namespace):
        self.model, self.options, self.labels = model, options, torch.arange(1 - first, len(images), 2)
        calibration = images[first::2]
        order = torch.randperm(len(calibration), generator=generator(first, "sample"))
        self.calibration = calibration[order[: options.images]].clone()
        self.test = images[1 - first :: 2]
        self.original = outputs(model, self.test)
        self.graph = reconv.trace(model, self.test[:1].clone())
        self._curves: tuple[reconv.ErrorCurves, tuple[float, float]] | None = None

    def curves(self) -> tuple[reconv.ErrorCurves, tuple[float, float]]:
        if self._curves is None:
            clock = Clock()
            seen, held_out = split_for_curves(self.calibration)
            moments = reconv.gather_moments(self.graph, seen)
            self._curves = reconv.error_curves(self.graph, moments, held_out=held_out), clock.read()
        return self._curves

    def measured(self, keep: float, before: float) -> Cell:
        curves, once = self.curves()
        plan = reconv.choose(self.graph, curves, reconv.Budget(macs=keep))
        small = reconv.prune(self.model, plan)
        pruned_only = self.figures(small)["agreement"]
        clock = Clock()
        small = reconv.repair(small, plan=plan, reference=self.model, images=self.calibration).eval()
        seconds, _ = clock.read()
        return {
            **self.figures(small),
            "pruned only": pruned_only,
            "removed": round(100 * (1 - plan.macs[1] / plan.macs[0]), 1),
            "cpu s": round(once[0] + seconds, 1),
            "of it repair": round(seconds, 1),
            "GiB": round(peak() - before, 2),
        }

    def figures(self, model: nn.Module) -> dict[str, Any]:
        found = outputs(model, self.test)
        right, alike = found.argmax(1) == self.labels, found.argmax(1) == self.original.argmax(1)
        return {
            "top-1": round(100 * float(right.float().mean()), 1),
            "agreement": round(100 * float(alike.float().mean()), 1),
            "divergence": round(divergence(found, self.original), 4),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="mobilenet_v2", help="mobilenet_v2, or a network of timm")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--photographs", type=Path, required=True)
    parser.add_argument("--keep", type=float, nargs="+", default=[0.8, 0.7, 0.5], help="shares of the MACs")
    parser.add_argument("--images", type=int, default=500, help="photographs to calibrate on")
    parser.add_argument("--halves", type=int, nargs="+", default=[0, 1], help="which halves calibrate")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/photographs"))
    options = parser.parse_args()
    keep_freed_memory()  # as the command line does
    torch.set_num_threads(options.threads)
    model, prepare = load(options.network, options.weights)
    images = photographs(options.photographs, prepare)
    file = options.out / f"{options.network}-{options.images}.json"
    cells = Cells(file, about_this_run(options.threads), {"images": options.images})
    for first in options.halves:
        half = Half(model, images, first, options)
        cells.get(f"original, half {first}", partial(half.figures, model))
        before = peak()
        for keep in options.keep:
            cells.get(f"keep {keep:g}, half {first}", partial(half.measured, keep, before))
    print(f"\n| {options.network}, {options.images} photographs | agreement % | top-1 % | CPU s | GiB |")
    print("|---" * 5 + "|")
    for keep in options.keep:
        rows = [cells.cells[f"keep {keep:g}, half {first}"] for first in options.halves]
        means = {name: statistics.mean(row[name] for row in rows) for name in ("agreement", "top-1", "cpu s")}
        each = ", ".join(str(row["agreement"]) for row in rows)
        print(
            f"| -{100 * (1 - keep):.0f} % MACs | {means['agreement']:.1f} ({each}) | {means['top-1']:.1f} "
            f"| {means['cpu s']:.0f} | {max(row['GiB'] for row in rows):.1f} |"
        )


if __name__ == "__main__":
    main()
