"""What a report tells: plain values, so that a report can be made from a run in memory or from its folder.

Every number carries its unit in its name or its comment; `None` is what was not measured, and the report says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Latency:
    """Time of one forward pass, in seconds: the median, and the quartiles around it."""

    batch: int
    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Measures:
    """One network, measured.

    Args:
        accuracy: fraction of test images whose top-1 answer is right.
        macs: multiply-accumulates of one image through convolutions and linear layers.
        parameters: number of learned values.
        file_bytes: size of the saved network.
        latency: one entry a batch size.
    """

    accuracy: float | None
    macs: int
    parameters: int
    file_bytes: int | None = None
    latency: tuple[Latency, ...] = ()


@dataclass(frozen=True)
class LayerFacts:
    """One layer: its output channels before and after, and each channel's score.

    Args:
        scores: one a channel, empty where the layer was not scored.
        kept: which channels stay, as long as `scores`.
        note: why nothing was cut here; empty where something was.
    """

    name: str
    geometry: str
    before: int
    after: int
    scores: tuple[float, ...] = ()
    kept: tuple[bool, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Untouched:
    """Tied channels that were left alone, and why."""

    layers: tuple[str, ...]
    channels: int
    reason: str


@dataclass(frozen=True)
class Curve:
    """One quantity over the epochs of one training."""

    title: str
    unit: str
    values: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Row:
    """One stage of the run: what it took, and the accuracy on the validation split after it."""

    stage: str
    seconds: float
    accuracy: float | None = None
    note: str = ""


@dataclass(frozen=True)
class RunFacts:
    """Everything the report of one run shows."""

    title: str
    asked: Mapping[str, str]
    before: Measures
    after: Measures
    layers: tuple[LayerFacts, ...]
    untouched: tuple[Untouched, ...] = ()
    curves: tuple[Curve, ...] = ()
    stages: tuple[Row, ...] = ()
    command: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
