"""`explore_into`: an exploration in a folder, where each measured point is kept as it appears.

config.json           what decides the result
points.json           what was measured so far, by the fingerprint of the plan
explore.json          every figure; the last file
explore.html          the page, and frontier-<cost>.svg, its pictures
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reconv.files import read_json, tensors_fingerprint, write_atomically, write_json
from reconv.frontier import Exploration, explore
from reconv.frontier.compute import HELD_OUT
from reconv.frontier.page import page, plot_of
from reconv.report import render_plot
from reconv.runs.config import RunConfig
from reconv.runs.folder import RunFolder
from reconv.runs.inputs import load_inputs
from reconv.runs.runner import RunOptions


class _Folder(RunFolder):
    """A run's folder whose last file is another."""

    @property
    def metrics(self) -> Path:
        return self.path / "explore.json"


class _Points(dict[str, Any]):
    """What was measured, written with each new point."""

    def __init__(self, file: Path) -> None:
        super().__init__(read_json(file) if file.is_file() else {})
        self._file = file

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        write_json(self._file, dict(self))


def explore_into(
    config: RunConfig,
    folder: Path | str,
    options: RunOptions | None = None,
    *,
    costs: Sequence[str],
    measure: Sequence[float],
) -> Exploration:
    """Explore the network and images that a configuration names.

    Args:
        config: network, images, and the compression that `reconv.explore` takes. folder, options: as for `run`.
        costs, measure: as for `reconv.explore`.

    Raises:
        ReconvError: as for `run` and `reconv.explore`, before anything is written where possible.
    """
    options = options or RunOptions()
    settings = config.to_mapping() | {"explore": {"costs": list(costs), "measure": list(measure)}}
    store = _Folder(Path(folder), settings, overwrite=options.overwrite, resume=options.resume, device=config.device)
    store.check()
    given = load_inputs(config, options.log, held=HELD_OUT)
    store.knows_weights(tensors_fingerprint(given.network.state_dict()))
    store.begin()
    found = explore(
        given.network,
        given.data,
        config.compression,
        costs=costs,
        measure=measure,
        example=given.example,
        metric=given.metric,
        device=config.device,
        data_root=config.data_root,
        log=options.log,
        kept=_Points(store.path / "points.json"),
    )
    title = f"{config.model} on {config.data_set.removeprefix('images:')}"
    for cost in found.frontiers:
        write_atomically(store.path / f"frontier-{cost}.svg", render_plot(plot_of(found, cost)))
    network = {"network": f"{config.model}, {config.weights or 'its own weights'}"}
    write_atomically(store.path / "explore.html", page(found, title, network, options.command))
    write_json(store.metrics, found.to_json())
    return found
