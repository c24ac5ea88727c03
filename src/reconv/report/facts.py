"""What a report shows: plain values, so that a report can be made from a run in memory or from its folder.

Every number carries its unit in its name or its comment; `None` is what was not measured, and the report says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from reconv.cost import Latency
from reconv.report.numbers import counted, duration
from reconv.report.plots import Series
from reconv.report.tested import Tested


@dataclass(frozen=True)
class Measures:
    """One network, measured.

    Args:
        accuracy: fraction of test images whose top-1 prediction is right.
        macs: multiply-accumulates per image through layers and products of signals.
        parameters: number of learned values.
        file_bytes: size of the saved network.
        latency: one entry per batch size.
        metric: value of a metric of the user's own, in place of the accuracy.
    """

    accuracy: float | None
    macs: int
    parameters: int
    file_bytes: int | None = None
    latency: tuple[Latency, ...] = ()
    metric: float | None = None


@dataclass(frozen=True)
class LayerFacts:
    """One layer: its output channels before and after, and each channel's score.

    Args:
        scores: one per channel, that it was ranked by; empty where the layer was not scored.
        kept: which channels stay, as long as `scores`.
        note: why nothing was removed here; empty where something was.
        tied: other layers whose channels stay and go with these, by one score for all of them.
    """

    name: str
    geometry: str
    before: int
    after: int
    scores: tuple[float, ...] = ()
    kept: tuple[bool, ...] = ()
    note: str = ""
    tied: tuple[str, ...] = ()

    @property
    def is_unpruned(self) -> bool:
        """Whether no channel was removed here."""
        return self.before == self.after

    @property
    def lowest_kept(self) -> float:
        """The lowest score among kept channels; NaN without scores."""
        return min((s for s, kept in zip(self.scores, self.kept, strict=True) if kept), default=math.nan)

    @property
    def highest_removed(self) -> float:
        """The highest score among removed channels; NaN without scores."""
        return max((s for s, kept in zip(self.scores, self.kept, strict=True) if not kept), default=math.nan)


@dataclass(frozen=True)
class UnprunedGroup:
    """Tied channels of which none was removed, and why."""

    layers: tuple[str, ...]
    channels: int
    reason: str


@dataclass(frozen=True)
class Curve:
    """One quantity over the epochs of one training."""

    title: str
    unit: str
    values: Mapping[str, tuple[float, ...]]

    @property
    def epochs(self) -> int:
        """How many there are of the longest line."""
        return max((len(line) for line in self.values.values()), default=0)


@dataclass(frozen=True)
class Row:
    """One stage of the run: what it took, and the accuracy on the validation split after it."""

    stage: str
    seconds: float
    accuracy: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Round:
    """One round of iterative pruning.

    Args:
        number: from 1. macs, parameters: that it left.
        pruned_only: accuracy on the validation split right after pruning; None: there is no such split.
        after: the same after the training that followed, the fine-tuning in the last round.
    """

    number: int
    macs: int
    parameters: int
    pruned_only: float | None = None
    after: float | None = None


@dataclass(frozen=True)
class LayerTime:
    """One layer's own forward within passes of both networks: seconds per pass, medians."""

    name: str
    before: Latency
    after: Latency


@dataclass(frozen=True)
class ExportedFile:
    """A file that the network was exported to, and how it compares with it.

    Args:
        path: of the file. format: the exporter's name. precision: float32 or int8. size: bytes.
        error: largest difference of the outputs, relative to the largest output.
        agreement: share of identical predictions; None where the outputs are no class scores.
        images: that both were compared on; 0: on random numbers.
    """

    path: str
    format: str
    precision: str
    size: int
    error: float
    agreement: float | None
    images: int


@dataclass(frozen=True)
class Certificate:
    """What the smallest network that was found loses, on images that it was not found by.

    Args:
        max_drop: points that may be lost. quality: of what.
        minimize, share: the cost, and which share of it the budget left that was found.
        drop: points that are lost on the certifying images. bound: what is lost at most, one-sided.
        level: of confidence. images: that certify. method: of the bound.
        searched: that the network was found on. tried: budgets, with their drop in points and whether that was little
            enough.
    """

    max_drop: float
    quality: str
    minimize: str
    share: float
    drop: float
    bound: float
    level: float
    images: int
    method: str
    searched: int
    tried: tuple[tuple[float, float, bool], ...] = ()

    @property
    def holds(self) -> bool:
        """Whether the network loses no more than it may, with this confidence."""
        return self.bound <= self.max_drop

    def __str__(self) -> str:
        """One line."""
        state = "certified" if self.holds else "not certified"
        return (
            f"{state}: {self.minimize}={self.share:g} loses {self.drop:.2f} points of {self.quality} on "
            f"{counted(self.images, 'image')} that it was not found by, and at most {self.bound:.2f} with "
            f"{100 * self.level:g} % confidence ({self.method}); {self.max_drop:g} may be lost"
        )


@dataclass(frozen=True)
class NetworkAccuracy:
    """The share of test images that a network is right on, and its 95 % interval."""

    network: str
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class RuntimeLatency:
    """Latency of several networks in one runtime, interleaved.

    Args:
        runtime: its name. threads: that computed. is_budget: whether the budget refers to this runtime.
        networks: "before", "after" and others -> seconds of a pass.
    """

    runtime: str
    threads: int
    is_budget: bool
    networks: Mapping[str, Latency]

    @property
    def before(self) -> Latency:
        """Of the network before."""
        return self.networks["before"]

    @property
    def after(self) -> Latency:
        """Of the network after, in float32."""
        return self.networks["after"]

    @property
    def title(self) -> str:
        """Runtime, threads and batch in words."""
        batch = next(iter(self.networks.values())).batch
        return f"{self.runtime}, {counted(self.threads, 'thread')}, {counted(batch, 'image')} per pass"

    @property
    def text(self) -> str:
        """One line."""
        first = next(iter(self.networks.values())).median
        times = (
            f"{name} {duration(one.median)}" + (f" ({one.median / first:.3f})" if one.median != first else "")
            for name, one in self.networks.items()
        )
        return f"{self.title}: {', '.join(times)}"


@dataclass(frozen=True)
class RunFacts:
    """Everything the report of one run shows.

    Args:
        title: of the page. settings: what the user asked for, by name.
        before, after: the two networks. layers: in the order of the forward pass.
        unpruned: tied channels of which none was removed. curves: of the trainings. stages: what was done.
        command: that does it again. versions, hashes: of software, hardware and weights, by name.
        device: what the networks were trained and measured on; empty where that was not kept.
        notes: sentences the reader should know. rounds: of iterative pruning, where there were several.
        verified: largest difference between removed and zeroed, relative; None: not checked.
        layer_times: of the layers, one by one, where they were measured. tested: both networks' predictions on the test
            images; None where they were not tested. validation_images: that accuracies on the way are of.
        scored_by: what the scores are, their unit, and from what they come.
        exported: files that the network was written to. runtimes: latency in each runtime that was asked for.
        accuracies: of original, pruned and int8 on the same images, where there is an int8 file.
        quality: what accuracies are: "top-1 accuracy", "agreement" with the original, or the name of a metric.
        certificate: of the smallest network that loses little enough, where that was asked for.
        study: points of accuracy (%) against MACs (%), from a study of the same network; not kept in `metrics.json`.
        folder: of the run, for commands that go on from it; "" where nothing was saved; not kept in `metrics.json`.
    """

    title: str
    settings: Mapping[str, str]
    before: Measures
    after: Measures
    layers: tuple[LayerFacts, ...]
    unpruned: tuple[UnprunedGroup, ...] = ()
    curves: tuple[Curve, ...] = ()
    stages: tuple[Row, ...] = ()
    command: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    rounds: tuple[Round, ...] = ()
    verified: float | None = None
    layer_times: tuple[LayerTime, ...] = ()
    tested: Tested | None = None
    device: str = ""
    validation_images: int | None = None
    scored_by: str = ""
    study: tuple[Series, ...] = ()
    quality: str = "top-1 accuracy"
    exported: tuple[ExportedFile, ...] = ()
    runtimes: tuple[RuntimeLatency, ...] = ()
    folder: str = ""
    accuracies: tuple[NetworkAccuracy, ...] = ()
    certificate: Certificate | None = None

    @property
    def latencies(self) -> tuple[tuple[Latency, Latency], ...]:
        """Before and after, one pair per batch size."""
        return tuple(zip(self.before.latency, self.after.latency, strict=True))

    def to_json(self) -> dict[str, Any]:
        """As a JSON object, without the scores, which have a file of their own."""
        facts = asdict(self)
        del facts["study"], facts["folder"]
        for layer in facts["layers"]:
            del layer["scores"], layer["kept"]
        return facts
