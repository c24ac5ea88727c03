"""Studies: criteria x budgets x schemes x arms x seeds over networks, each cell computed once."""

from reconv.study.arms import ARMS, Arm
from reconv.study.cell import Cell, Network
from reconv.study.design import Grid, Study, read_study
from reconv.study.executors import EXECUTORS, executor_named
from reconv.study.runner import Progress, run_study
from reconv.study.store import Store

__all__ = [
    "ARMS",
    "EXECUTORS",
    "Arm",
    "Cell",
    "Grid",
    "Network",
    "Progress",
    "Store",
    "Study",
    "executor_named",
    "read_study",
    "run_study",
]
