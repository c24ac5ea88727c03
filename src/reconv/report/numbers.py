"""Numbers as a reader wants them: three or four digits and a unit."""

from __future__ import annotations

import math

_DECIMAL = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
_BINARY = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def count(value: float) -> str:
    """125_486_720 -> '125.5 M'."""
    for size, unit in _DECIMAL:
        if abs(value) >= size:
            return f"{value / size:.4g} {unit}"
    return f"{value:.4g}"


def size(value: float | None) -> str:
    """Bytes: 1_094_408 -> '1.044 MiB'."""
    if value is None:
        return "not measured"
    for step, unit in _BINARY:
        if abs(value) >= step:
            return f"{value / step:.4g} {unit}"
    return f"{value:.0f} B"


def percent(fraction: float | None) -> str:
    """0.9173 -> '91.73 %'."""
    return "not measured" if fraction is None else f"{100 * fraction:.2f} %"


def duration(seconds: float) -> str:
    """0.00321 -> '3.21 ms', 75 -> '1 min 15 s'."""
    if seconds >= 60:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s"
    if seconds >= 1:
        return f"{seconds:.3g} s"
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} µs"


def ratio(before: float | None, after: float | None) -> str:
    """How many times smaller `after` is: '2.01x'."""
    return "" if not before or not after else f"{before / after:.3g}×"


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
