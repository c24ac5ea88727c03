"""What is left alone whatever the budget."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from reconv.errors import ConfigError, check_kind, unknown_name


@dataclass(frozen=True)
class Limits:
    """What every plan respects, whatever its budget.

    Args:
        minimum: output channels that every layer keeps at least; all that it has, where it has fewer.
        multiple: a pruned layer keeps a multiple of this many output channels.
        most: share of a layer's output channels that may go at most, such as 'layer4.*=0.25'; a mapping of patterns
            of layer names, of which the first that fits a layer counts.
        exclude: patterns of layers that stay unpruned; the same as a share of 0, and counts before other patterns.

    Example:
        >>> import reconv
        >>> limits = reconv.Limits(minimum=8, multiple=4, most={"conv1": 0, "layer4.*": 0.25})
        >>> limits.least("layer4.0.conv1", 512)
        384
    """

    minimum: int = 1
    multiple: int = 1
    most: Mapping[str, float] = field(default_factory=dict)
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("minimum", "multiple"):
            check_kind(f"limits: {name}", getattr(self, name), int, "a whole number of channels, such as 8")
        check_kind("limits: most", self.most, Mapping, 'a mapping of patterns to shares, such as {"layer4.*": 0.25}')
        if self.minimum < 1 or self.multiple < 1:
            raise ConfigError(
                f"limits: minimum={self.minimum}, multiple={self.multiple}; both are whole numbers of at least 1"
            )
        for pattern, share in self.most.items():
            if not 0 <= share <= 1:
                raise ConfigError(f"limits: {pattern}={share:g}; the share that may go lies between 0 and 1")
        if self.exclude:
            others = {pattern: share for pattern, share in self.most.items() if pattern not in self.exclude}
            object.__setattr__(self, "most", dict.fromkeys(self.exclude, 0.0) | others)
            object.__setattr__(self, "exclude", ())

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
        pattern = self._pattern(layer)
        share = 1.0 if pattern is None else self.most[pattern]
        return min(channels, max(self.minimum, math.ceil(channels * (1 - share) - 1e-9)))

    def why(self, widths: Mapping[str, int], narrower: Mapping[str, int]) -> str:
        """Why tied layers do not become narrower.

        Args:
            widths: layer -> channels before. narrower: layer -> channels that the next step would leave.

        Returns:
            The first limit that forbids the step; "" where none does.
        """
        for layer, channels in widths.items():
            width, pattern = narrower[layer], self._pattern(layer)
            if width < self.least(layer, channels):
                if pattern is not None and not self.most[pattern]:
                    return f"excluded ({pattern})"
                if pattern is not None and width < math.ceil(channels * (1 - self.most[pattern]) - 1e-9):
                    return f"at most {self.most[pattern]:.0%} of {pattern} may go"
                return f"at least {min(channels, self.minimum)} channels stay"
            if width % self.multiple:
                return f"only multiples of {self.multiple} may stay"
        return ""

    def _pattern(self, layer: str) -> str | None:
        return next((pattern for pattern in self.most if fnmatchcase(layer, pattern)), None)
