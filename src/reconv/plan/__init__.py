"""What to remove: plans, and the ways to choose one."""

from reconv.budget import ALLOCATED as ALLOCATED
from reconv.budget import SCHEMES as SCHEMES
from reconv.budget import Budget as Budget
from reconv.budget import Limits as Limits
from reconv.budget import Scheme as Scheme
from reconv.plan.choice import check_budget as check_budget
from reconv.plan.choice import choose as choose
from reconv.plan.choice import choose_along as choose_along
from reconv.plan.curves import Curve as Curve
from reconv.plan.curves import ErrorCurves as ErrorCurves
from reconv.plan.latency import measure_layers as measure_layers
from reconv.plan.plans import GroupPlan as GroupPlan
from reconv.plan.plans import Plan as Plan
from reconv.plan.plans import plan_from_json as plan_from_json
from reconv.plan.plans import plan_keeping as plan_keeping
from reconv.plan.problem import NOT_NEEDED as NOT_NEEDED
from reconv.plan.problem import Predicted as Predicted
from reconv.plan.queues import STREAM as STREAM
from reconv.plan.rankings import RESCALINGS as RESCALINGS
from reconv.plan.rankings import unit_scores as unit_scores
from reconv.plan.widths import choose_widths as choose_widths
