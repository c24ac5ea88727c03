"""Where a study's results lie: one file per cell, by the hash of its settings.

study.json         the latest request, and the command that made it
cells/<hash>.json  one outcome each
cells.jsonl        the same, one per line, of studies that were packed (for version control)
networks.json      layers, and Kendall's tau between criteria, by network
latency.json       measured latencies, by network and widths
failed.json        why cells could not be computed, by hash
training/          checkpoints of unfinished trainings
results.csv, results.json, summary.json, summary.csv, summary.tex, report.html
facts.json         what the report shows
"""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mode
from typing import Any

from reconv.errors import ArtifactError, ReconvError
from reconv.files import read_json, read_text, write_atomically, write_json
from reconv.folders import mark_as_ours
from reconv.study.design import Study, study_from_json
from reconv.study.record import checked

NETWORKS, LATENCY, FAILED = "networks.json", "latency.json", "failed.json"
_STUDY, _CELLS, _PACKED = "study.json", "cells", "cells.jsonl"


@dataclass(frozen=True)
class Store:
    """A study's folder."""

    path: Path

    def check(self) -> None:
        """Refuse, before any work, a path that no study may be written to.

        Raises:
            ArtifactError: a file, or a folder of something else.
        """
        if self.path.exists() and not self.path.is_dir():
            raise ArtifactError(f"{self.path}: is a file; give a folder.")
        if self.path.is_dir() and any(self.path.iterdir()) and not self.is_study:
            raise ArtifactError(f"{self.path}: holds something that is no study; give another folder, or an empty one.")

    def begin(self, study: Mapping[str, Any]) -> None:
        """Make the folder, or take one that a study made, for this study.

        Raises:
            ArtifactError: as `check` does.
        """
        self.check()
        is_new = not self.is_study
        write_json(self.path / _STUDY, study)
        if is_new:
            mark_as_ours(self.path)

    @property
    def is_study(self) -> bool:
        """Whether a study lies here."""
        return (self.path / _STUDY).is_file()

    @property
    def study(self) -> dict[str, Any]:
        """The latest request, as JSON."""
        if not self.is_study:
            raise ArtifactError(f"{self.path}: no study (no {_STUDY} in it); give a folder that reconv study wrote.")
        return self.read(_STUDY)

    @property
    def requested(self) -> Study:
        """The latest request.

        Raises:
            ArtifactError: no study, or a file that does not say one.
        """
        try:
            return study_from_json(self.study)
        except ArtifactError:
            raise
        except (ReconvError, KeyError, TypeError, ValueError, AttributeError) as error:
            why = str(error) if isinstance(error, ReconvError) else f"{type(error).__name__}: {error}"
            raise ArtifactError(
                f"{self.path / _STUDY}: is no request of a study ({why}); run the study again with --save-path "
                f"{self.path}, which writes it anew."
            ) from None

    @property
    def title(self) -> str | None:
        """Of the latest request; None where no study is, or none that can be read."""
        with contextlib.suppress(ReconvError):
            return str(self.study.get("title"))
        return None

    def last_requested(self) -> float:
        """When, in seconds since the epoch."""
        return (self.path / _STUDY).stat().st_mtime

    @property
    def command(self) -> str:
        """The command that made the latest request; "" where none did."""
        return str(self.study.get("command", ""))

    @property
    def trainings(self) -> Path:
        """For checkpoints of unfinished trainings."""
        return self.path / "training"

    def keep(self, record: Mapping[str, Any]) -> None:
        """Write a cell's record; it appears whole or not at all."""
        text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False, sort_keys=True) + "\n"
        write_atomically(self.path / _CELLS / f"{record['key']}.json", text)

    def keep_failure(self, key: str, why: str) -> None:
        """Write why a cell could not be computed."""
        write_json(self.path / FAILED, self.read(FAILED) | {key: why})

    def records(self) -> dict[str, dict[str, Any]]:
        """All outcomes by hash, packed ones too.

        Raises:
            ArtifactError: a file, or a line of the packed one, that is not a cell's, or is damaged.
        """
        records, sources = {}, {}
        for source, record in (*self._packed(), *self._single()):
            key = record["key"]
            records[key], sources[key] = record, source
        _check_images(records, sources)
        return records

    def _single(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for file in sorted((self.path / _CELLS).glob("*.json")):
            content = None
            with contextlib.suppress(ArtifactError):
                content = read_json(file)
            record = checked(content, str(file))
            if record["key"] != file.stem:
                raise ArtifactError(f"{file}: holds another cell than it is named by; delete it.")
            yield str(file), record

    def _packed(self) -> Iterator[tuple[str, dict[str, Any]]]:
        file = self.path / _PACKED
        if not file.is_file():
            return
        for number, line in enumerate(read_text(file).splitlines(), start=1):
            source, content = f"{file}: line {number}", None
            with contextlib.suppress(ValueError, RecursionError):
                content = json.loads(line)
            yield source, checked(content, source)

    def copy_to(self, target: Path) -> int:
        """The study in another folder, all outcomes in one file `cells.jsonl`; what that folder has besides stays.

        Returns:
            How many outcomes are there now.

        Raises:
            ArtifactError: as `check` does, of the target; nothing is written.
        """
        pack = Store(target)
        pack.check()
        records = sorted((pack.records() | self.records()).values(), key=lambda record: str(record["key"]))
        lines = (json.dumps(record, ensure_ascii=False, sort_keys=True, separators=(",", ":")) for record in records)
        pack.begin(self.study)
        write_atomically(target / _PACKED, "".join(line + "\n" for line in lines))
        for name in (NETWORKS, LATENCY, FAILED):
            if (self.path / name).is_file():
                write_json(target / name, pack.read(name) | self.read(name))
        return len(records)

    def read(self, name: str) -> dict[str, Any]:
        """A table such as `latency.json`; empty where there is none.

        Raises:
            ArtifactError: not a table.
        """
        file = self.path / name
        table = read_json(file) if file.is_file() else {}
        if not isinstance(table, dict):
            raise ArtifactError(f"{file}: a table should be here; delete it, and run the study again.")
        return table


def _check_images(records: Mapping[str, Mapping[str, Any]], sources: Mapping[str, str]) -> None:
    """Outcomes of the same split of the same data set are of as many images.

    Raises:
        ArtifactError: one that is not as most others are.
    """
    numbers: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for key, record in records.items():
        numbers[record["cell"]["network"]["labels"], record["cell"]["split"]][key] = record["outcome"]["images"]
    for of_split in numbers.values():
        usual = mode(of_split.values())
        for key, images in of_split.items():
            if images != usual:
                raise ArtifactError(
                    f"{sources[key]}: {images:,} images, where others of the same data have {usual:,}; delete it, and "
                    "it is computed again."
                )
