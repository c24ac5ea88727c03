"""Studies: criteria x budgets x schemes x arms x seeds over networks, each cell computed once."""

from reconv.study.arms import ARMS, Arm
from reconv.study.cell import Cell, Network
from reconv.study.design import Grid, Study, read_study
from reconv.study.executors import EXECUTORS, executor_named
from reconv.study.findings import study_facts
from reconv.study.pictures import points_of_network
from reconv.study.runner import StudyLog, StudyResult, begin_study, run_study
from reconv.study.store import Store
from reconv.study.tables import as_csv, summary_json, tidy

__all__ = [
    "ARMS",
    "EXECUTORS",
    "Arm",
    "Cell",
    "Grid",
    "Network",
    "Store",
    "Study",
    "StudyLog",
    "StudyResult",
    "as_csv",
    "begin_study",
    "executor_named",
    "points_of_network",
    "read_study",
    "run_study",
    "study_facts",
    "summary_json",
    "tidy",
]
