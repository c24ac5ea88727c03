"""Studies: criteria x budgets x schemes x arms x seeds over networks, each cell computed once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconv.lazy import lazy_names

if TYPE_CHECKING:
    from reconv.study.arms import ARMS as ARMS
    from reconv.study.arms import Arm as Arm
    from reconv.study.cell import Cell as Cell
    from reconv.study.cell import Network as Network
    from reconv.study.design import Grid as Grid
    from reconv.study.design import Study as Study
    from reconv.study.design import read_study as read_study
    from reconv.study.findings import study_facts as study_facts
    from reconv.study.frames import StudyTables as StudyTables
    from reconv.study.frames import load_study as load_study
    from reconv.study.pictures import points_of_network as points_of_network
    from reconv.study.runner import StudyLog as StudyLog
    from reconv.study.runner import StudyResult as StudyResult
    from reconv.study.runner import begin_study as begin_study
    from reconv.study.runner import run_study as run_study
    from reconv.study.store import Store as Store

_HOME = {
    "arms": ("ARMS", "Arm"),
    "cell": ("Cell", "Network"),
    "design": ("Grid", "Study", "read_study"),
    "findings": ("study_facts",),
    "frames": ("StudyTables", "load_study"),
    "pictures": ("points_of_network",),
    "runner": ("StudyLog", "StudyResult", "begin_study", "run_study"),
    "store": ("Store",),
}
__getattr__, _names = lazy_names(__name__, _HOME)
__all__ = list(_names)  # pyright: ignore[reportUnsupportedDunderAll]
