"""The folder of a run: what lies where, and how a run is begun in it or gone on with.

config.json            what decides the result
base/                  the network before, as a saved model
scores.safetensors     every channel's score
plan.json              which channels go, and why others stay
rounds/<number>/       the network after each round but the last, where there are several
model/                 the network after, as a saved model
training/<stage>/      metrics.jsonl, and checkpoints until the stage is done
metrics.json           every figure of the report
report.html
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from reconv.artifacts import load, save
from reconv.errors import ArtifactError, ConfigError
from reconv.files import check_replaceable, output_folder, read_json, read_text, write_json
from reconv.pipeline.config import RunConfig
from reconv.plan import Plan
from reconv.report import built
from reconv.training import EpochRecord, Session
from reconv.training.checkpoint import checkpoints_in


@dataclass(frozen=True)
class RunFolder:
    """A run's folder.

    Args:
        path: where it is.
        device: for trainings in it. progress: whether they show their own bars. trackers: that they tell.
    """

    path: Path
    device: str = "auto"
    progress: bool = False
    trackers: tuple[str, ...] = ()

    @property
    def scores(self) -> Path:
        return self.path / "scores.safetensors"

    @property
    def plan(self) -> Path:
        return self.path / "plan.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.json"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def _config(self) -> Path:
        return self.path / "config.json"

    @property
    def is_begun(self) -> bool:
        """Whether a run has left its configuration here."""
        return self._config.is_file()

    def config(self) -> RunConfig:
        """What was asked of the run that lies here.

        Raises:
            ArtifactError: there is no such file, or it is not what a run writes.
        """
        values = read_json(self._config)
        if not isinstance(values, dict) or not {"model", "data_set"} <= values.keys():
            raise ArtifactError(
                f"{self._config}: not the configuration of a run, which names model and data_set; give a run's folder."
            )
        try:
            return built(RunConfig, values, str(self._config))
        except ConfigError as error:
            raise ArtifactError(f"{self._config}: {error}") from None

    def check(self, config: Mapping[str, Any], *, overwrite: bool, resume: bool) -> None:
        """Refuse, before any work, a folder that the run could not be written into.

        Raises:
            ArtifactError: it is occupied, or not a run's. ConfigError: a run of other settings, or finished.
        """
        if not resume or not self.path.exists():
            check_replaceable(self.path, overwrite=overwrite)
            return
        if not self.is_begun:
            raise ArtifactError(f"{self.path}: nothing to resume (no {self._config.name} in it); leave --resume out.")
        if self.metrics.is_file():
            raise ConfigError(f"{self.path}: finished; its figures are in {self.metrics}. --overwrite runs it again.")
        now = json.loads(json.dumps(config))
        there = read_json(self._config)
        there = there if isinstance(there, dict) else {}
        for key in sorted(set(there) | set(now)):
            if there.get(key) != now.get(key):
                raise ConfigError(
                    f"{self.path}: begun with {key} = {there.get(key)}, now it is {now.get(key)}; "
                    "resume with the same options, or give another folder."
                )

    def begin(self, config: Mapping[str, Any], *, overwrite: bool, resume: bool) -> None:
        """Make the folder, or find it as it was left."""
        self.check(config, overwrite=overwrite, resume=resume)
        if not (resume and self.is_begun):
            output_folder(self.path, overwrite=overwrite)
            write_json(self._config, config)

    def model(self, name: str) -> nn.Module | None:
        """The saved model of this name, if the run has come so far."""
        place = self.path / name
        return load(place) if place.is_dir() else None

    def save_model(self, name: str, model: nn.Module, plan: Plan | None = None) -> int:
        """Save a model; returns the size of its files in bytes."""
        place = self.path / name
        save(model, place, plan=plan, overwrite=True)
        return sum(file.stat().st_size for file in place.iterdir())

    def session(self, stage: str) -> Session:
        """What surrounds a training of this run: it goes on where it was interrupted, if it was."""
        return Session(
            self._training(stage),
            resume=True,
            device=self.device,
            progress=self.progress,
            title=stage,
            trackers=self.trackers,
        )

    def history(self, stage: str) -> tuple[EpochRecord, ...]:
        """The epochs of a training, from its file; none if there was no such training."""
        file = self._training(stage) / "metrics.jsonl"
        if not file.is_file():
            return ()
        try:
            return tuple(EpochRecord.from_json(json.loads(line)) for line in read_text(file).splitlines())
        except (KeyError, TypeError, ValueError):
            raise ArtifactError(f"{file}: not the record of a training; run again with --overwrite.") from None

    def forget_checkpoints(self, stage: str) -> None:
        """Delete the checkpoints of a training whose result is saved."""
        for file in checkpoints_in(self._training(stage)):
            with contextlib.suppress(OSError):
                file.unlink()

    def _training(self, stage: str) -> Path:
        return self.path / "training" / stage.replace(" ", "-")
