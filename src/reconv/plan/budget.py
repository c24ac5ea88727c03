"""What may be left of a network, and what is left alone whatever the budget."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from reconv.errors import ConfigError, unknown_name


@dataclass(frozen=True)
class Budget:
    """What may be left, at most. A share of the original (0 < x < 1), or an absolute number (x >= 1).

    Args:
        macs: multiply-adds of convolutions and linear layers for one image.
        params: parameters of the model.
        channels: channels, of those that may be removed at all.
    """

    macs: float | None = None
    params: float | None = None
    channels: float | None = None

    def __post_init__(self) -> None:
        limits = self.limits
        if not limits:
            raise ConfigError("budget: nothing is limited; give macs=, params= or channels=, such as macs=0.5")
        for name, value in limits.items():
            whole = value >= 1 and float(value).is_integer()
            if not (math.isfinite(value) and (0 < value < 1 or whole)):
                raise ConfigError(
                    f"budget: {name}={value:g}; a share lies between 0 and 1 and an absolute number is whole; "
                    f"give {name}=0.5 to keep half"
                )

    @property
    def limits(self) -> dict[str, float]:
        pairs = {"macs": self.macs, "params": self.params, "channels": self.channels}
        return {name: value for name, value in pairs.items() if value is not None}

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Budget:
        """From `name=value` texts, as the command line takes them."""
        values: dict[str, float] = {}
        for text in (part for whole in texts for part in whole.split(",")):
            name, _, value = (piece.strip() for piece in text.partition("="))
            if name not in ("macs", "params", "channels"):
                raise unknown_name("budget", name, ("macs", "params", "channels"))
            try:
                values[name] = float(value)
            except ValueError:
                raise ConfigError(f"budget: {text!r}; write name=number, such as {name}=0.5") from None
        return cls(**values)

    def __str__(self) -> str:
        return ", ".join(f"{name}={value:g}" for name, value in self.limits.items())


@dataclass(frozen=True)
class Limits:
    """What every plan respects, whatever its budget.

    Args:
        minimum: output channels that every layer keeps at least (all that it has, where it has fewer).
        multiple: a cut layer keeps a multiple of this many output channels.
        most: pattern of layer names (`layer4.*`) -> the share of their output channels that may go at most; 0 leaves
            them whole. The first pattern that fits a layer counts.
    """

    minimum: int = 1
    multiple: int = 1
    most: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.minimum < 1 or self.multiple < 1:
            raise ConfigError(
                f"limits: minimum={self.minimum}, multiple={self.multiple}; both are whole numbers of at least 1"
            )
        for pattern, share in self.most.items():
            if not 0 <= share <= 1:
                raise ConfigError(f"limits: {pattern}={share:g}; the share that may go lies between 0 and 1")

    def check_patterns(self, layers: Iterable[str]) -> None:
        """Refuse a pattern that fits no layer.

        Raises:
            UnknownNameError: with the nearest names.
        """
        names = list(layers)
        for pattern in self.most:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise unknown_name("layer", pattern, names)

    def least(self, layer: str, channels: int) -> int:
        """How many of its channels a layer keeps at least."""
        share = next((share for pattern, share in self.most.items() if fnmatchcase(layer, pattern)), 1.0)
        return min(channels, max(self.minimum, math.ceil(channels * (1 - share) - 1e-9)))

    def why(self, layer: str, channels: int) -> str:
        """Why this layer keeps what it keeps."""
        for pattern, share in self.most.items():
            if fnmatchcase(layer, pattern):
                return f"at most {share:.0%} of {pattern} may go"
        if self.multiple > 1:
            return f"only multiples of {self.multiple} may stay, at least {self.minimum}"
        return f"at least {min(channels, self.minimum)} channels stay"
