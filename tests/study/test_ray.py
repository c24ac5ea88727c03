"""A study on a Ray cluster of two nodes, of which a worker is killed midway."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from outcome import outcomes

from reconv.study import Cell, Study, StudyLog, run_study

pytestmark = pytest.mark.slow
ray = pytest.importorskip("ray")


@pytest.fixture
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.add_node(num_cpus=1)
    ray.init(address=made.address, log_to_driver=False)
    try:
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


def _own_workers() -> list[int]:
    """Ray's worker processes that descend from this one."""
    parents, names = {}, {}
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError, ValueError):
                parents[int(process.name)] = int((process / "stat").read_text().rsplit(")", 1)[1].split()[1])
                names[int(process.name)] = (process / "cmdline").read_bytes()

    def descends(pid: int) -> bool:
        return pid == os.getpid() or (pid in parents and descends(parents[pid]))

    return [pid for pid, name in names.items() if name.startswith(b"ray::") and descends(pid)]


class _KillOne(StudyLog):
    """Kills a worker when the first cell is done: what it was doing is lost."""

    killed = 0

    def done(self, cell: Cell, accuracy: float | None, seconds: float, why: str) -> None:
        if not self.killed:
            working = [pid for pid in _own_workers() if b"_attempt" in Path(f"/proc/{pid}/cmdline").read_bytes()]
            self.killed = (working or _own_workers())[0]
            os.kill(self.killed, signal.SIGKILL)


def test_a_killed_worker_costs_time_and_nothing_else(study: Study, cluster: Any, tmp_path: Path) -> None:
    assert len([node for node in ray.nodes() if node["Alive"]]) == 2
    watch = _KillOne()
    done = run_study(study, tmp_path / "ray", executor="ray", log=watch)
    assert watch.killed
    assert done.failed == ()
    assert done.computed == len(study.cells())
    alone = run_study(study, tmp_path / "alone")
    assert outcomes(done.store.records()) == outcomes(alone.store.records())
