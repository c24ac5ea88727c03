"""Labels and order of criteria, arms, budgets and differences, the same in every table and picture."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from reconv.report import numbers
from reconv.report.plots import COLORS, UNPRUNED
from reconv.significance import Interval
from reconv.study.arms import ARMS
from reconv.study.peers import PEER
from reconv.study.tables import Line, Setting

_ORDER = ("spectral", "nuclear", "frobenius", "l1", "l2", "fpgm", "bn_scale", "random", "reconstruction", "activation")
_STYLES = tuple(style for style in range(COLORS) if style != UNPRUNED)
RECIPES = "cfg"  # what the paper's are called, with a number
_WIDTHS = {"uniform": "the same share of every layer", "allocated": "widths by predicted error"}


def rank(criterion: str) -> tuple[int, str]:
    """Sort key of criteria."""
    return (_ORDER.index(criterion) if criterion in _ORDER else len(_ORDER), criterion)


def arm_rank(arm: str) -> tuple[int, str]:
    """Sort key of arms: in the order of their table, a study's own after them."""
    return list(ARMS).index(arm) if arm in ARMS else len(ARMS), arm


def style(criterion: str) -> int:
    """Color and marker of a criterion; a peer has those of what it imitates, all others share the last ones."""
    plain = criterion.removeprefix(PEER)
    return _STYLES[_ORDER.index(plain)] if plain in _ORDER else _STYLES[-1]


def nth_style(number: int) -> int:
    """Color and marker of what is no criterion, one after the other; never that of unpruned networks."""
    return _STYLES[number % len(_STYLES)]


def by_panel(lines: Iterable[Line]) -> dict[Setting, list[Line]]:
    """Lines by what one picture or table shows: all of a setting but network and budget, in order; recipes apart."""
    panels: dict[Setting, list[Line]] = defaultdict(list)
    for line in lines:
        panels[replace(line.setting, network="", budget=RECIPES * is_recipe(line.setting.budget))].append(line)
    return dict(sorted(panels.items(), key=lambda item: (arm_rank(item[0].arm), _scheme_rank(item[0]))))


def _scheme_rank(setting: Setting) -> tuple[bool, str, str]:
    return is_recipe(setting.budget) or setting.scheme != "uniform", setting.scheme, setting.note


def panel_title(panel: Setting) -> str:
    """What was done after the pruning, and how the widths were chosen."""
    return f"{panel.arm}; {widths_title(panel)}"


def is_recipe(budget: str) -> bool:
    """Whether a budget is one of the paper's recipes, which are no steps of one budget."""
    return budget.startswith(RECIPES)


def widths_title(setting: Setting) -> str:
    """How the widths were chosen."""
    if is_recipe(setting.budget):
        return f"the paper's recipes{setting.note}"
    return f"{_WIDTHS.get(setting.scheme, setting.scheme)}{setting.note}"


def setting_title(setting: Setting) -> str:
    """What was pruned, whatever the network and the arm."""
    return f"{budget_text(setting.budget)}, {setting.scheme}{setting.note}"


def _limit(budget: str) -> tuple[str, float] | None:
    """`macs=0.5` as ("macs", 0.5); None of several limits and of recipes."""
    name, _, value = budget.partition("=")
    try:
        return name, float(value)
    except ValueError:
        return None


def budget_text(budget: str) -> str:
    """`macs=0.5` as `-50 % MACs`."""
    limit = _limit(budget)
    if limit is None:
        return budget
    name, share = limit
    unit = {"macs": "MACs", "params": "parameters"}.get(name, name)
    return f"−{100 * (1 - share):.3g} % {unit}" if share < 1 else f"{numbers.count(share)} {unit}"


def budget_rank(budget: str) -> tuple[int, str, float]:
    """Sort key of budgets: by what they limit and how much they remove; several limits; recipes by number."""
    limit = _limit(budget)
    if limit is not None:
        return 0, limit[0], -limit[1]
    number = budget.removeprefix("cfg")
    return (2, "cfg", float(number)) if number.isdigit() else (1, budget, 0.0)


def bounds(difference: Interval) -> str:
    """A difference's interval in percentage points."""
    return f"[{numbers.in_points(difference.low)}, {numbers.in_points(difference.high)}]"


def verdict(difference: Interval) -> str:
    """ "better" or "worse" beyond noise, else "noise": the kind of an `Entry`."""
    if not difference.excludes_zero:
        return "noise"
    return "better" if difference.value > 0 else "worse"
