"""Numbers as a reader wants them: three or four digits and a unit."""

from __future__ import annotations

import math
from collections.abc import Sequence

_DECIMAL = ((1, ""), (1e3, "k"), (1e6, "M"), (1e9, "G"))
_BINARY = ((1, "B"), (1 << 10, "KiB"), (1 << 20, "MiB"), (1 << 30, "GiB"))
_SECONDS = ((1e-6, "µs"), (1e-3, "ms"), (1, "s"))


def _in_units(value: float, units: Sequence[tuple[float, str]], digits: int) -> str:
    """In the smallest unit in which the number, as it will be read, has not reached the next one."""
    (step, unit), *larger = units
    number = f"{value / step:.{digits}g}"
    if larger and abs(float(number)) * step >= larger[0][0]:
        return _in_units(value, larger, digits)
    return f"{number} {unit}".rstrip()


def count(value: float) -> str:
    """125_486_720 -> '125.5 M'."""
    return _in_units(value, _DECIMAL, 4)


def counted(number: int, noun: str, nouns: str = "") -> str:
    """1 -> '1 epoch', 2000 -> '2,000 epochs'; `nouns` is the plural where it is not the noun and an s."""
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"


def size(value: float | None) -> str:
    """Bytes: 1_094_408 -> '1.044 MiB'."""
    return "not measured" if value is None else _in_units(value, _BINARY, 4)


def percent(fraction: float | None) -> str:
    """0.9173 -> '91.73 %'."""
    return "not measured" if fraction is None else f"{100 * fraction:.2f} %"


def points(before: float | None, after: float | None) -> str:
    """A difference of fractions with its sign: '−4.79 points'."""
    if before is None or after is None:
        return ""
    number = in_points(after - before)
    return "±0 points" if after == before else f"{number} points"


def in_points(difference: float) -> str:
    """A difference of fractions in percentage points, with its sign: −0.0479 -> '−4.79'."""
    return f"{100 * difference:+.2f}".replace("-", "−")


def duration(seconds: float) -> str:
    """0.00321 -> '3.21 ms', 75 -> '1 min 15 s', 36_000 -> '10 h 0 min'."""
    if not float(f"{seconds:.3g}") >= 60:
        return _in_units(seconds, _SECONDS, 3)
    if round(seconds) < 3600:
        return f"{round(seconds) // 60} min {round(seconds) % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60:,} h {minutes % 60} min"


def ratio(before: float | None, after: float | None) -> str:
    """How many times smaller `after` is, in three digits: '2.01×', '2.00×', '12,300×'."""
    if not before or not after:
        return ""
    number = f"{before / after:#.3g}".rstrip(".")
    return f"{float(number):,.0f}×" if float(number) >= 1000 else f"{number}×"


def times(before: float | None, after: float | None, less: str, more: str) -> str:
    """How `after` stands to `before`: '2.01× fewer', or '1.50× more'."""
    if before == after:
        return "the same"
    if not before or not after:
        return ""
    return f"{ratio(before, after)} {less}" if after < before else f"{ratio(after, before)} {more}"


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round values inside [low, high], about as many as asked."""
    if not high > low:
        return [low]
    rough = (high - low) / about
    power = 10 ** math.floor(math.log10(rough))
    step = min(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]
