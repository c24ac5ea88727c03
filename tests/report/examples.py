"""Facts of a run and of a study, made up, with everything that a report can show."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from reconv.cost import Latency
from reconv.report import (
    Curve,
    Difference,
    Forest,
    LayerFacts,
    LayerTime,
    Measures,
    Multiples,
    Plot,
    Point,
    Round,
    Row,
    RunFacts,
    Series,
    StudyFacts,
    UnprunedGroup,
)
from reconv.report.study_facts import Claim, Entry, Matrix, Section, Table, Widths
from reconv.results.measure import most_changed, tested
from reconv.training.predictions import Predictions


def layer(name: str, channels: int, kept: int) -> LayerFacts:
    """A layer with scores that go up and down."""
    scores = tuple(1.0 + math.sin(7.0 * i) for i in range(channels))
    best = set(sorted(range(channels), key=lambda i: -scores[i])[:kept])
    return LayerFacts(name, "3x3 on 32x32", channels, kept, scores, tuple(i in best for i in range(channels)), "")


def time_of(seconds: float, batch: int = 1) -> Latency:
    """A latency with quartiles around it."""
    return Latency(batch, seconds, 0.97 * seconds, 1.1 * seconds, 21)


def run_facts(classes: int = 4, images: int = 60) -> RunFacts:
    """A run with every section."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(images) % classes
    right = torch.nn.functional.one_hot(labels, classes)
    before, after = (
        Predictions((sure * right + torch.randn(images, classes, generator=generator)).softmax(1), labels)
        for sure in (3, 2)
    )
    pictures = {
        index: torch.randint(0, 256, (3, 32, 32), generator=generator, dtype=torch.uint8)
        for index in most_changed(before.probabilities, after.probabilities, 10)
    }
    names = [f"class {i}" for i in range(classes)]
    layers = tuple(
        layer(f"layer{i // 6}.{i}.conv{1 + i % 2}", 16 << i // 6, (16 if i % 2 else 9) << i // 6) for i in range(18)
    )
    return RunFacts(
        title="resnet20 on digits",
        settings={"criterion": "nuclear norm", "budget": "MACs to 50 %"},
        before=Measures(0.99, 40_800_000, 272_474, 1_094_408, (time_of(4e-3), time_of(9e-2, 64))),
        after=Measures(0.985, 20_400_000, 140_000, 580_000, (time_of(3e-3), time_of(6e-2, 64))),
        layers=layers,
        unpruned=(UnprunedGroup(("conv1", "layer1.0.conv2"), 16, "residual stream"),),
        curves=(
            Curve("fine-tuning: loss", "nats", {"training": (0.9, 0.3122), "validation": (0.7, 0.1185)}),
            Curve("fine-tuning: top-1 accuracy", "%", {"training": (50.0, 95.12), "validation": (60.0, 94.87)}),
        ),
        stages=(Row("cut", 0.2, 0.5), Row("fine-tune", 30.0, 0.97, "short, 2 epochs")),
        command="reconv run --model resnet20 --weights W.safetensors --data-set CIFAR10 --budget macs=0.5 --epochs 2",
        versions={"torch": "2", "processor": "a CPU", "accelerator": "none"},
        hashes={"weights before": "abc" * 20},
        notes=("Something to know.",),
        rounds=(Round(1, 30_000_000, 200_000, 0.9, 0.95), Round(2, 20_400_000, 140_000, 0.9, 0.94)),
        verified=3e-15,
        layer_times=tuple(LayerTime(x.name, time_of(1e-4, 16), time_of(7e-5, 16)) for x in layers),
        tested=tested("test", before, after, names, pictures),
        device="a CPU",
        validation_images=5000,
        scored_by="sum of something; no unit, computed from the weights",
    )


def study_series() -> tuple[Series, ...]:
    """Series as a study gives them for a run's report."""
    return tuple(
        Series(f"arm {i}", tuple(Point(100 * x, 90 - 40 * (1 - x) * (i + 1)) for x in (0.35, 0.5, 0.7)), i)
        for i in range(3)
    )


def study_facts() -> StudyFacts:
    """A study with every section."""
    criteria = ("spectral", "nuclear", "frobenius", "l1", "l2", "fpgm", "bn_scale", "random", "reconstruction")
    shares = (0.35, 0.5, 0.6, 0.7, 0.8)
    series = tuple(
        Series(
            name,
            tuple(
                Point(100 * x, 92 - (1 - x) * 30 - i, 91 - (1 - x) * 30 - i, 93 - (1 - x) * 30 - i, name)
                for x in shares
            ),
            i,
        )
        for i, name in enumerate(criteria)
    )
    plot = Plot(
        "recalibrated; uniform", "MACs left, % of the whole network's", "top-1 accuracy, %", series, "Measured."
    )
    kinds = ("", "better", "worse", "noise")
    row = tuple(Entry("85.14 ± 0.20 (3)", "+0.10 [−0.20, +0.40]", kinds[i % 4]) for i in range(len(shares)))
    table = Table("recalibrated", "Top-1 accuracy in %.", tuple(f"−{100 - 100 * x:.0f} % MACs" for x in shares),
                  tuple((name, row) for name in criteria))  # fmt: skip
    n = len(criteria)
    tau = tuple(tuple(None if i + j == 3 else 1 - abs(i - j) / n for j in range(n)) for i in range(n))
    layers = tuple(f"layer{i // 9}.{i}.conv1" for i in range(27))
    widths = Widths("−50 % MACs, allocated", "Kept.", layers, (16,) * 27,
                    {name: tuple(4 + (i * k) % 13 for i in range(27)) for k, name in enumerate(criteria)})  # fmt: skip
    rows = tuple(
        Difference(name, i - 3.0, i - 3.5, i - 2.5, f"{i - 3:+.2f}", i, i % 2 == 1)
        for i, name in enumerate((*criteria[:-1], "torch-pruning:fpgm"))
    )
    far = replace(rows[0], value=-90.0, low=-95.0, high=-85.0, text="−90.00")
    forest = Forest("recalibrated", "difference to l1, points of test accuracy", (*rows, far), "Measured.")
    return StudyFacts(
        title="Criteria on CIFAR-10",
        description="Which criterion?",
        findings=("resnet20: all within noise [−0.1, +0.2].",),
        review={"base accuracy": "91.73 %", "MACs": "counted so"},
        claims=(Claim((forest, forest), table),),
        sections=(
            Section(
                "resnet20",
                "A network.",
                (plot, plot),
                (Multiples("recalibrated", tuple(replace(plot, title=name) for name in criteria), "Measured."),),
                (table, table),
                Matrix("Agreement", "Kendall's tau.", criteria, tau),
                (widths,),
            ),
        ),
        missing=("resnet56: repaired",),
        command="reconv study STUDY.toml",
        versions={"torch": "2"},
    )
