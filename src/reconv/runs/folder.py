"""The folder of a run: how a run is begun in it or gone on with. What lies where: `reconv.runs.layout`."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from reconv.artifacts import load, save, save_saliency
from reconv.errors import ArtifactError, ConfigError
from reconv.files import json_text, parse_json, read_json, read_text, tensors_fingerprint, write_json
from reconv.folders import check_replaceable, is_empty, output_folder, recover
from reconv.plan import Plan
from reconv.runs.config import is_first_form
from reconv.runs.layout import WEIGHTS, RunFiles
from reconv.saliency import Saliency
from reconv.store import Store
from reconv.temporary import remove_leftovers_in
from reconv.training import EpochRecord, Session
from reconv.training.checkpoint import checkpoints_in


class RunFolder(RunFiles, Store):
    """A run's folder; it is made with the first result that is kept in it.

    Args:
        path: where it is. config: what decides the run's result, as `config.json` holds it.
        overwrite: replace a folder that an earlier run made. resume: go on with an interrupted run.
        device: for trainings in it. trackers: that they tell.
    """

    def __init__(
        self,
        path: Path,
        config: Mapping[str, Any] | None = None,
        *,
        overwrite: bool = False,
        resume: bool = False,
        device: str = "auto",
        trackers: tuple[str, ...] = (),
    ) -> None:
        RunFiles.__init__(self, path)
        Store.__init__(self, device)
        self._settings, self._trackers = config or {}, trackers
        self._overwrite, self._resume, self._begun = overwrite, resume, False
        self._base: str | None = None

    def check(self) -> None:
        """Refuse, before any work, a folder that the run could not be written into.

        Raises:
            ArtifactError: it is occupied, or not a run's. ConfigError: a run of other settings, or finished.
        """
        if not self._resume or is_empty(self.path):
            check_replaceable(self.path, overwrite=self._overwrite)
            return
        if not self.is_begun:
            raise ArtifactError(
                f"{self.path}: nothing to resume (no {self.config_file.name} in it); leave --resume out."
            )
        if self.metrics.is_file():
            raise ConfigError(f"{self.path}: finished; its figures are in {self.metrics}. --overwrite runs it again.")
        earlier = read_json(self.config_file)
        earlier = earlier if isinstance(earlier, dict) else {}
        if is_first_form(earlier):
            earlier = self.config().to_mapping()
        if not (WEIGHTS in earlier and WEIGHTS in self._settings):  # as yet unknown, or of a version that did not say
            earlier.pop(WEIGHTS, None)
        _check_same(earlier, self._settings, str(self.path))

    def knows_weights(self, fingerprint: str) -> None:
        """Hold the run to the weights that it starts from.

        Raises:
            ConfigError: a run that was begun with others, and is to be resumed.
        """
        self._settings = {**self._settings, WEIGHTS: fingerprint}
        self.check()

    def begin(self) -> None:
        """Make the folder, or find it as it was left; once."""
        if self._begun:
            return
        self.check()
        if self._resume and self.is_begun:
            remove_leftovers_in(self.path)
        else:
            settings = json_text(self._settings)
            output_folder(self.path, overwrite=self._overwrite, first={self.config_file.name: settings})
        self._begun = True

    def load(self, name: str, like: nn.Module) -> nn.Module | None:
        """The saved network of this name, if the run has come so far."""
        folder = self.path / name
        recover(folder)
        if not self._resume or not folder.is_dir():
            return None
        try:
            network = load(folder, model=like)
        except ArtifactError as error:
            raise ArtifactError(f"{error} Or delete {folder} and resume: it is made again.") from None
        self._know_base(name, network)
        return network

    def _know_base(self, name: str, network: nn.Module) -> None:
        """Later trainings are of this network, also if what they start from is computed again, to other last bits."""
        if name == "base" or name.startswith("rounds"):
            self._base = tensors_fingerprint(network.state_dict())

    def save(self, name: str, value: nn.Module | Saliency | Plan, plan: Plan | None = None) -> None:
        """Save a network, scores, or a plan."""
        self.begin()
        if isinstance(value, nn.Module):
            self._know_base(name, value)
            save(value, self.path / name, plan=plan, overwrite=True)
        elif isinstance(value, Plan):
            write_json(self.plan, value.to_json())
        else:
            save_saliency(value, self.scores)

    def file(self, path: str) -> Path:
        """Where a file of the user's lies: a relative path is in the folder."""
        return self.path / path

    def bytes_of(self, name: str) -> int:
        """The size of a saved network's files."""
        return sum(file.stat().st_size for file in (self.path / name).iterdir())

    def session(self, title: str, progress: bool) -> Session:
        """What surrounds a training of this run: it goes on where it was interrupted, if it was."""
        folder = self._training(title)
        return Session(
            folder,
            resume=True,
            device=self.device,
            progress=progress,
            title=title,
            trackers=self._trackers,
            starts_from=self._base or self._settings.get(WEIGHTS),
        )

    def read_history(self, title: str) -> tuple[EpochRecord, ...]:
        """The epochs of a training, from its file; none if there was no such training."""
        file = self._training(title) / "metrics.jsonl"
        if not file.is_file():
            return ()
        try:
            return tuple(EpochRecord.from_json(parse_json(line, file)) for line in read_text(file).splitlines())
        except (ArtifactError, KeyError, TypeError, ValueError, AttributeError):
            raise ArtifactError(f"{file}: not the record of a training; run again with --overwrite.") from None

    def finish(self, title: str) -> None:
        """Delete the checkpoints of a training whose result is saved."""
        for file in checkpoints_in(self._training(title)):
            with contextlib.suppress(OSError):
                file.unlink()

    def _training(self, title: str) -> Path:
        return self.path / "training" / title.replace(" ", "-")


def _check_same(earlier: Mapping[str, Any], now: Mapping[str, Any], folder: str, within: str = "") -> None:
    """Refuse to go on with other settings, naming the first that differs."""
    for key in sorted((set(earlier) | set(now)) - ({WEIGHTS} - set(earlier))):
        old, new = earlier.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            _check_same(old, new, folder, f"{within}{key}.")
        elif old != new and key == WEIGHTS:
            raise ConfigError(f"{folder}: begun with other weights than these; give those, or another folder.")
        elif old != new:
            raise ConfigError(
                f"{folder}: begun with {within}{key} = {old}, now it is {new}; "
                "resume with the same options, or give another folder."
            )
