"""The facts of a run, from its folder: so that its report can be made again, or among others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from reconv.errors import ArtifactError, ReconvError
from reconv.files import read_json
from reconv.mappings import from_mapping
from reconv.report import LayerFacts, RunFacts
from reconv.runs.layout import RunFiles

_RENAMED = {"asked": "settings", "untouched": "unpruned"}  # since version 0.1


def is_run(folder: Path) -> bool:
    """Whether a finished run lies here."""
    run = RunFiles(folder)
    return run.metrics.is_file() and run.plan.is_file()


def _layers(file: Path) -> tuple[LayerFacts, ...]:
    rows = read_json(file)
    if not isinstance(rows, list):
        raise ArtifactError(f"{file}: not what a run writes; run again with --overwrite.")
    try:
        return tuple(from_mapping(LayerFacts, row, str(file), strict=False) for row in rows)
    except ReconvError as error:
        raise ArtifactError(f"{error}; it is not what a run writes: run again with --overwrite.") from None


def load_facts(folder: Path) -> RunFacts:
    """What a finished run found out, with every channel's score where its network can be built by name.

    Raises:
        ArtifactError: no run, an unfinished one, or a file that is not what a run writes.
    """
    run = RunFiles(folder)
    if not is_run(folder):
        raise ArtifactError(f"{folder}: no finished run (no {run.metrics.name}, or no {run.plan.name}); give one.")
    values = read_json(run.metrics)
    if not isinstance(values, dict):
        raise ArtifactError(f"{run.metrics}: not what a run writes; run again with --overwrite.")
    values = {_RENAMED.get(name, name): value for name, value in values.items()}
    try:
        facts = replace(from_mapping(RunFacts, values, str(run.metrics), strict=False), folder=str(folder))
    except ReconvError as error:
        raise ArtifactError(f"{error}; it is not what a run writes: run again with --overwrite.") from None
    if run.layers.is_file():
        return replace(facts, layers=_layers(run.layers))
    return _with_layers(facts, run)


def _with_layers(facts: RunFacts, run: RunFiles) -> RunFacts:
    """With the layers of a run of version 0.1, which did not write them; without, where no name builds its network."""
    from reconv.artifacts import load, load_saliency, read_manifest
    from reconv.graph import trace
    from reconv.networks import example_of
    from reconv.plan import plan_from_json
    from reconv.results.describe import describe_scores
    from reconv.results.facts import layers_of

    if read_manifest(run.path / "base")["model"] is None:
        return facts
    config = run.config()
    graph = trace(load(run.path / "base"), example_of(config.data_set)[0])
    plan = plan_from_json(graph, read_json(run.plan))
    layers = layers_of(graph, load_saliency(run.scores), plan)
    scores = facts.scored_by or describe_scores(plan.criterion, config.compression.scores)  # once it was not written
    return replace(facts, layers=tuple(layers), scored_by=scores)
