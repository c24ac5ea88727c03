"""A study on a Ray cluster of two nodes, of which a worker is killed midway."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from outcome import outcomes

from reconv.study import Cell, Progress, Study, run_study

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


class _KillOne(Progress):
    """Kills one of the cluster's workers when the first cell is done."""

    killed = 0

    def done(self, cell: Cell, accuracy: float | None, seconds: float, why: str) -> None:
        if not self.killed:
            from ray.util.state import list_workers

            time.sleep(0.5)
            pids = [row["pid"] for row in list_workers() if row["is_alive"] and row["worker_type"] == "WORKER"]
            own = [pid for pid in pids if pid and pid != os.getpid()]
            os.kill(own[0], signal.SIGKILL)
            self.killed = own[0]


def test_a_killed_worker_costs_time_and_nothing_else(study: Study, cluster: Any, tmp_path: Path) -> None:
    assert len([node for node in ray.nodes() if node["Alive"]]) == 2
    watch = _KillOne()
    done = run_study(study, tmp_path / "ray", executor="ray", progress=watch)
    assert watch.killed
    assert done.failed == ()
    assert done.computed == len(study.cells())
    alone = run_study(study, tmp_path / "alone")
    assert outcomes(done.store.records()) == outcomes(alone.store.records())
