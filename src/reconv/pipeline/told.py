"""The facts of a run, from its folder: so that its report can be made again, or among others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from reconv.artifacts import load, load_saliency
from reconv.errors import ArtifactError
from reconv.files import read_json
from reconv.graph import trace
from reconv.pipeline.account import layers_of
from reconv.pipeline.folder import RunFolder
from reconv.pipeline.inputs import example_of
from reconv.pipeline.scored import scored_by
from reconv.plan import plan_from_json
from reconv.report import RunFacts, built


def is_run(folder: Path) -> bool:
    """Whether a finished run lies here."""
    place = RunFolder(folder)
    return place.metrics.is_file() and place.plan.is_file()


def facts_of(folder: Path) -> RunFacts:
    """What a finished run found out, with every channel's score.

    Raises:
        ArtifactError: no run, an unfinished one, or a file that is not what a run writes.
    """
    place = RunFolder(folder)
    if not is_run(folder):
        raise ArtifactError(f"{folder}: no finished run (no {place.metrics.name}, or no {place.plan.name}); give one.")
    values = read_json(place.metrics)
    if not isinstance(values, dict):
        raise ArtifactError(f"{place.metrics}: not what a run writes; run again with --overwrite.")
    base, config = load(folder / "base"), place.config()
    graph = trace(base, example_of(config.data_set)[0])
    plan = plan_from_json(graph, read_json(place.plan))
    layers = layers_of(graph, load_saliency(place.scores), plan)
    facts = built(RunFacts, values | {"layers": []}, str(place.metrics))
    scores = facts.scored_by or scored_by(plan.criterion, config.cut.scores)  # which runs once did not write
    return replace(facts, layers=tuple(layers), scored_by=scores)
