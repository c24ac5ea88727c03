"""Repair a cut network in closed form, and choose channels and widths from the same statistics."""

import sys
from types import ModuleType
from typing import Any

from reconv.repair.allocate import choose_by_curves as choose_by_curves
from reconv.repair.dead_leaves import dead_leaves as dead_leaves
from reconv.repair.elimination import Curve as Curve
from reconv.repair.elimination import error_curves as error_curves
from reconv.repair.network import repair as repair
from reconv.repair.network import repair_with_report as repair_with_report
from reconv.repair.report import LayerRepair as LayerRepair
from reconv.repair.report import RepairReport as RepairReport
from reconv.repair.settings import Settings as Settings
from reconv.repair.statistics import Moments as Moments
from reconv.repair.statistics import gather_moments as gather_moments


class _Room(ModuleType):
    """`reconv.repair` is both this package and, as the public interface has it, the function of the same name."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return repair(*args, **kwargs)


sys.modules[__name__].__class__ = _Room
