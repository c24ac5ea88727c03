"""What may be left of a network."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from reconv.errors import ConfigError, unknown_name

_FACTORS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "ki": 1024.0, "mi": 1024.0**2, "gi": 1024.0**3}
_MICROSECONDS = {"s": 1e6, "ms": 1e3, "us": 1.0, "µs": 1.0}
_NUMBER = re.compile(r"([-+]?[0-9.]+(?:e[-+]?[0-9]+)?|[-+]?inf|nan)\s*([a-zµ]*)", re.IGNORECASE)


@dataclass(frozen=True)
class Budget:
    """What may be left, at most. A share of the original (0 < x < 1), or an absolute number (x >= 1).

    Args:
        macs: multiply-adds of convolutions and linear layers for one image.
        params: parameters of the model.
        channels: channels, of those that may be removed at all.
        size: bytes of the saved weights, header included.
        memory: bytes of live activations at the widest moment of one forward pass of the example.
        latency: microseconds of a forward pass of the example, on the machine at hand.
    """

    macs: float | None = None
    params: float | None = None
    channels: float | None = None
    size: float | None = None
    memory: float | None = None
    latency: float | None = None

    def __post_init__(self) -> None:
        if not self.limits:
            raise ConfigError("budget: nothing is limited; give macs=, params= or channels=, such as macs=0.5")
        for name, value in self.limits.items():
            whole = value >= 1 and float(value).is_integer()
            if not (math.isfinite(value) and (0 < value < 1 or whole)):
                raise ConfigError(
                    f"budget: {name}={value:g}; a share lies between 0 and 1 and an absolute number is whole; "
                    f"give {name}=0.5 to keep half"
                )

    @property
    def limits(self) -> dict[str, float]:
        """What is limited, and to what, as it was given."""
        pairs = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in pairs.items() if value is not None}

    def allowed(self, name: str, whole: float) -> float:
        """What may be left of `whole`."""
        value = self.limits[name]
        return value * whole if value < 1 else value

    def countable(self) -> Budget | None:
        """The budget without what has to be measured; None where nothing is left of it."""
        if self.latency is None:
            return self
        return replace(self, latency=None) if len(self.limits) > 1 else None

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Budget:
        """From `name=value` texts, as the command line takes them, such as `macs=60M`, `size=2MiB`, `latency=3ms`."""
        values: dict[str, float] = {}
        for text in (part for whole in texts for part in whole.split(",")):
            name, _, value = (piece.strip() for piece in text.partition("="))
            if name not in NAMES:
                raise unknown_name("budget", name, NAMES)
            values[name] = _value(name, value, text)
        return cls(**values)

    @classmethod
    def from_plain(cls, value: Any, where: str) -> Budget:
        """From `"macs=0.5"`, a list of such texts, or a mapping, whose values may be texts with a unit: "3ms".

        Raises:
            ConfigError: none of these, or a budget that cannot be. UnknownNameError: a kind that there is not.
        """
        if isinstance(value, Mapping):
            given = [(name, item) for name, item in value.items() if item is not None]
            if all(isinstance(item, int | float | str) and not isinstance(item, bool) for _, item in given):
                texts = [f"{name}={item}" for name, item in given if isinstance(item, str)]
                numbers = {name: float(item) for name, item in given if not isinstance(item, str)}
                unknown = next((name for name in numbers if name not in NAMES), None)
                if unknown is not None:
                    raise unknown_name(f"{where}: budget", unknown, NAMES)
                return cls(**(cls.parse(texts).limits if texts else {}) | numbers)
        texts = [value] if isinstance(value, str) else value
        if isinstance(texts, list | tuple) and all(isinstance(text, str) for text in texts):
            return cls.parse(texts)
        raise ConfigError(f'{where} = {value!r}; give a budget, such as "macs=0.5"')

    def to_plain(self) -> dict[str, float]:
        """What is limited, and to what, as a mapping."""
        return self.limits

    def __str__(self) -> str:
        return ", ".join(
            f"{name}={shown(name, value) if name == 'latency' and value >= 1 else f'{value:g}'}"
            for name, value in self.limits.items()
        )


NAMES = tuple(field.name for field in fields(Budget))


def _value(name: str, value: str, text: str) -> float:
    found = _NUMBER.fullmatch(value)
    unit = found[2].lower() if found else ""
    factors = _MICROSECONDS if name == "latency" else _FACTORS
    unit = unit.removesuffix("b") if name in ("size", "memory") else unit
    if not found or unit not in ("", *factors):
        raise ConfigError(f"budget: {text!r}; write name=number, such as {name}={_EXAMPLES.get(name, '0.5')}")
    if name == "latency" and not unit and float(found[1]) >= 1:
        raise ConfigError(f"budget: {text!r}; a time has a unit, as in latency=3ms, and a share lies between 0 and 1")
    number = float(found[1]) * factors.get(unit, 1.0)
    return float(round(number)) if unit else number


_EXAMPLES = {"latency": "3ms", "size": "2MiB", "memory": "2MiB"}


def shown(name: str, value: float) -> str:
    """An amount in the unit of its kind."""
    if name == "latency":
        return f"{value / 1000:.4g} ms"
    return f"{value:,.0f}{' bytes' if name in ('size', 'memory') else ''}"
