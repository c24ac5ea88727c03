"""How criteria, budgets and differences are called and ordered, everywhere alike."""

from __future__ import annotations

from reconv.report import numbers
from reconv.report.plots import WHOLE
from reconv.study.arms import ARMS

_ORDER = ("spectral", "nuclear", "frobenius", "l1", "l2", "fpgm", "bn_scale", "random", "reconstruction", "activation")


def rank(criterion: str) -> tuple[int, str]:
    """Criteria in the same order everywhere."""
    return (_ORDER.index(criterion) if criterion in _ORDER else len(_ORDER), criterion)


def style(criterion: str) -> int:
    """The same color and marker everywhere; peers have those of what they imitate."""
    plain = criterion.split(":")[-1]
    place = _ORDER.index(plain) if plain in _ORDER else len(_ORDER)
    return place if place < WHOLE else place + 1


def budget_text(budget: str) -> str:
    """`macs=0.5` as `-50 % MACs`."""
    name, _, value = budget.partition("=")
    try:
        share = float(value)
    except ValueError:
        return budget
    what = {"macs": "MACs", "params": "parameters"}.get(name, name)
    return f"−{100 * (1 - share):.3g} % {what}" if share < 1 else f"{numbers.count(share)} {what}"


def points(value: float) -> str:
    """A difference of fractions in percentage points, with its sign."""
    return f"{100 * value:+.2f}".replace("-", "−")


def arm_rank(arm: str) -> int:
    return list(ARMS).index(arm) if arm in ARMS else len(ARMS)


def panel(key: tuple[str, str, bool]) -> str:
    arm, scheme, coupled = key
    words = {"uniform": "the same share of every layer", "allocated": "widths by predicted error"}.get(scheme, scheme)
    return f"{arm}; {words}{', residual streams too' if coupled else ''}"
