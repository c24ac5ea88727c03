"""How criteria, arms, budgets and differences are called and ordered, everywhere alike."""

from __future__ import annotations

from reconv.report import numbers
from reconv.report.plots import COLORS, WHOLE
from reconv.significance import Interval
from reconv.study.arms import ARMS
from reconv.study.cell import PEER
from reconv.study.tables import Setting

_ORDER = ("spectral", "nuclear", "frobenius", "l1", "l2", "fpgm", "bn_scale", "random", "reconstruction", "activation")
_STYLES = tuple(style for style in range(COLORS) if style != WHOLE)


def rank(criterion: str) -> tuple[int, str]:
    """Criteria in the same order everywhere."""
    return (_ORDER.index(criterion) if criterion in _ORDER else len(_ORDER), criterion)


def style(criterion: str) -> int:
    """The same color and marker everywhere; a peer has those of what it imitates, all others share the last ones."""
    plain = criterion.removeprefix(PEER)
    return _STYLES[_ORDER.index(plain)] if plain in _ORDER else _STYLES[-1]


def nth_style(number: int) -> int:
    """Of what is no criterion: one after the other, and none that stands for a whole network."""
    return _STYLES[number % len(_STYLES)]


def is_peer(criterion: str) -> bool:
    """Whether another library cuts by it: drawn hollow and dashed."""
    return criterion.startswith(PEER)


def limit(budget: str) -> tuple[str, float] | None:
    """`macs=0.5` as ("macs", 0.5); None of several limits and of the paper's configurations."""
    name, _, value = budget.partition("=")
    try:
        return name, float(value)
    except ValueError:
        return None


def budget_text(budget: str) -> str:
    """`macs=0.5` as `-50 % MACs`."""
    known = limit(budget)
    if known is None:
        return budget
    name, share = known
    what = {"macs": "MACs", "params": "parameters"}.get(name, name)
    return f"−{100 * (1 - share):.3g} % {what}" if share < 1 else f"{numbers.count(share)} {what}"


def setting_text(setting: Setting) -> str:
    """What is cut, in a few words, whatever the network and what is done after it."""
    return f"{budget_text(setting.budget)}, {setting.scheme}{', residual streams too' * setting.coupled}"


def budget_rank(budget: str) -> tuple[int, str, float]:
    """Budgets by what they limit and how much they take; then several limits; then the paper's, by number."""
    known = limit(budget)
    if known is not None:
        return 0, known[0], -known[1]
    number = budget.removeprefix("cfg")
    return (2, "cfg", float(number)) if number.isdigit() else (1, budget, 0.0)


def bounds(difference: Interval) -> str:
    """A difference's interval in percentage points."""
    return f"[{numbers.in_points(difference.low)}, {numbers.in_points(difference.high)}]"


def verdict(difference: Interval) -> str:
    """What a difference is beyond noise, better or worse; "noise" within it. The kind of an `Entry`."""
    if not difference.excludes_zero:
        return "noise"
    return "better" if difference.value > 0 else "worse"


def arm_rank(arm: str) -> int:
    """Arms in the order of their table; a study's own after them."""
    return list(ARMS).index(arm) if arm in ARMS else len(ARMS)
