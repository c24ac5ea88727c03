"""Uses the engine where only its four dependencies are installed; run by test_wheel.py and by the release workflow."""

import tempfile
from pathlib import Path

import torch
from torch import nn

import reconv


def main() -> None:
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 8, 3), nn.Flatten())
    example = torch.zeros(1, 3, 12, 12)
    graph = reconv.trace(model, example)
    plan = reconv.choose(graph, reconv.score(graph, "nuclear"), reconv.Budget(macs=0.5))
    small = reconv.prune(model, plan)
    assert reconv.verify(model, small, plan) < 1e-10
    repaired = reconv.repair(small, plan=plan, reference=model, images=torch.rand(64, 3, 12, 12))
    assert reconv.profile(reconv.trace(repaired, example)).macs < reconv.profile(graph).macs
    with tempfile.TemporaryDirectory() as folder:
        reconv.save(repaired, Path(folder) / "small", plan=plan)
        again = reconv.load(Path(folder) / "small", model=model)
    images = torch.rand(2, 3, 12, 12)
    assert torch.equal(again.eval()(images), repaired.eval()(images))
    print(f"{reconv.__version__}: {Path(reconv.__file__).parent}")


if __name__ == "__main__":
    main()
