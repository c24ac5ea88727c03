"""Where latency is measured, for budgets of it and for reports."""

from __future__ import annotations

from dataclasses import dataclass

from reconv.errors import ConfigError


@dataclass(frozen=True)
class LatencyConfig:
    """Where latency is measured.

    Args:
        runtime: what latency is measured in: onnxruntime, openvino, torch or torch-compile; or command:PROGRAM for a
            program of yours; repeatable: a budget refers to the first, the report shows all.
        threads: threads that compute while latency is measured; None: as many as PyTorch has.
        batch: images per pass while latency is measured in a runtime; None: 1.

    Example:
        >>> from reconv.budget import LatencyConfig
        >>> LatencyConfig(("onnxruntime",), threads=1).is_default
        False
    """

    runtime: tuple[str, ...] = ()
    threads: int | None = None
    batch: int | None = None

    def __post_init__(self) -> None:
        for name in ("threads", "batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"latency {name}: {value}; give a whole number of at least 1")

    def __str__(self) -> str:
        """For reports."""
        parts = [", ".join(self.runtime)] if self.runtime else []
        parts += [f"{self.threads} thread{'s' * (self.threads != 1)}"] if self.threads else []
        parts += [f"batch of {self.batch}"] if self.batch else []
        return ", ".join(parts)

    @property
    def is_default(self) -> bool:
        """Whether nothing is said, so that it is PyTorch that a budget refers to."""
        return self == LatencyConfig()

    @property
    def of_budget(self) -> str:
        """The runtime that a budget refers to."""
        return self.runtime[0] if self.runtime else "torch"
