"""What to remove: budgets, limits, plans, and the ways to choose one."""

from reconv.plan.budget import Budget as Budget
from reconv.plan.choice import ALLOCATED as ALLOCATED
from reconv.plan.choice import NOT_NEEDED as NOT_NEEDED
from reconv.plan.choice import SCHEMES as SCHEMES
from reconv.plan.choice import Scheme as Scheme
from reconv.plan.choice import choose as choose
from reconv.plan.curves import Curve as Curve
from reconv.plan.curves import ErrorCurves as ErrorCurves
from reconv.plan.limits import Limits as Limits
from reconv.plan.plans import GroupPlan as GroupPlan
from reconv.plan.plans import Plan as Plan
from reconv.plan.plans import names_shown as names_shown
from reconv.plan.plans import plan_from_json as plan_from_json
from reconv.plan.plans import plan_keeping as plan_keeping
from reconv.plan.queues import STREAM as STREAM
from reconv.plan.rescale import RESCALINGS as RESCALINGS
from reconv.plan.scores import unit_scores as unit_scores
from reconv.plan.widths import choose_widths as choose_widths
