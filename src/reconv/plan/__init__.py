"""What to remove: budgets, limits, plans, and the ways to choose one; budgets and limits need no PyTorch."""

from typing import TYPE_CHECKING

from reconv.lazy import lazy_names
from reconv.plan.budget import Budget as Budget
from reconv.plan.limits import Limits as Limits

if TYPE_CHECKING:
    from reconv.plan.choice import ALLOCATED as ALLOCATED
    from reconv.plan.choice import NOT_NEEDED as NOT_NEEDED
    from reconv.plan.choice import SCHEMES as SCHEMES
    from reconv.plan.choice import Scheme as Scheme
    from reconv.plan.choice import choose as choose
    from reconv.plan.curves import Curve as Curve
    from reconv.plan.curves import ErrorCurves as ErrorCurves
    from reconv.plan.plans import GroupPlan as GroupPlan
    from reconv.plan.plans import Plan as Plan
    from reconv.plan.plans import names_shown as names_shown
    from reconv.plan.plans import plan_from_json as plan_from_json
    from reconv.plan.plans import plan_keeping as plan_keeping
    from reconv.plan.queues import STREAM as STREAM
    from reconv.plan.rescale import RESCALINGS as RESCALINGS
    from reconv.plan.scores import unit_scores as unit_scores
    from reconv.plan.widths import choose_widths as choose_widths

_HOME = {
    "choice": ("ALLOCATED", "NOT_NEEDED", "SCHEMES", "Scheme", "choose"),
    "curves": ("Curve", "ErrorCurves"),
    "plans": ("GroupPlan", "Plan", "names_shown", "plan_from_json", "plan_keeping"),
    "queues": ("STREAM",),
    "rescale": ("RESCALINGS",),
    "scores": ("unit_scores",),
    "widths": ("choose_widths",),
}
__getattr__, _ = lazy_names(__name__, _HOME)
