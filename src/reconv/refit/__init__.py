"""Repair a cut network in closed form, and find error curves from the same statistics."""

from reconv.refit.criteria import curves_of as curves_of
from reconv.refit.elimination import error_curves as error_curves
from reconv.refit.generated_images import dead_leaves as dead_leaves
from reconv.refit.network import repair as repair
from reconv.refit.network import repair_with_report as repair_with_report
from reconv.refit.report import LayerRepair as LayerRepair
from reconv.refit.report import RepairReport as RepairReport
from reconv.refit.settings import Settings as Settings
from reconv.refit.statistics import gather_moments as gather_moments
