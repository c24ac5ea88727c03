"""Where a study's results lie: one file a cell, by the hash of its settings.

study.json         what was asked last
cells/<hash>.json  one outcome each
cells.jsonl        the same, one a line, of studies that were packed (for version control)
networks.json      layers, and Kendall's tau between criteria, by network
latency.json       measured latencies, by network and widths
training/          checkpoints of trainings that are not done
results.csv, results.json, summary.json, report.html
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconv.errors import ArtifactError
from reconv.files import mark_as_ours, read_json, read_text, write_atomically, write_json

NETWORKS, LATENCY = "networks.json", "latency.json"
_STUDY, _CELLS, _PACKED = "study.json", "cells", "cells.jsonl"


@dataclass(frozen=True)
class Store:
    """A study's folder."""

    path: Path

    def check(self) -> None:
        """Refuse, before any work, a place that no study may be written to.

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
        """What was asked last."""
        if not self.is_study:
            raise ArtifactError(f"{self.path}: no study (no {_STUDY} in it); give a folder that reconv study wrote.")
        return dict(read_json(self.path / _STUDY))

    @property
    def trainings(self) -> Path:
        """For checkpoints of trainings that are not done."""
        return self.path / "training"

    def keep(self, record: Mapping[str, Any]) -> None:
        """Write a cell's record; it appears whole or not at all."""
        text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False, sort_keys=True) + "\n"
        write_atomically(self.path / _CELLS / f"{record['key']}.json", text)

    def records(self) -> dict[str, dict[str, Any]]:
        """All outcomes by hash, packed ones too. A file that is not a record is named.

        Raises:
            ArtifactError: a file that is not a cell's, or not of the hash that it is named by.
        """
        found = {record["key"]: record for record in self._packed()}
        for file in sorted((self.path / _CELLS).glob("*.json")):
            record = read_json(file)
            if not isinstance(record, dict) or record.get("key") != file.stem or "outcome" not in record:
                raise ArtifactError(f"{file}: not a cell of a study; delete it, and it is computed again.")
            found[file.stem] = record
        return found

    def _packed(self) -> Iterator[dict[str, Any]]:
        file = self.path / _PACKED
        if not file.is_file():
            return
        for number, line in enumerate(read_text(file).splitlines(), start=1):
            try:
                record = json.loads(line)
                if not isinstance(record["outcome"], dict) or not isinstance(record["key"], str):
                    raise TypeError("outcome")
            except (KeyError, TypeError, ValueError):
                raise ArtifactError(
                    f"{file}: line {number} is not a cell of a study; delete it, and it is computed again."
                ) from None
            yield record

    def copy_to(self, target: Path) -> int:
        """The study in another folder, all outcomes in one file `cells.jsonl`; returns how many.

        Raises:
            ArtifactError: as `check` does, of the target; nothing is written.
        """
        pack = Store(target)
        records = sorted(self.records().values(), key=lambda record: str(record["key"]))
        lines = (json.dumps(record, ensure_ascii=False, sort_keys=True, separators=(",", ":")) for record in records)
        pack.begin(self.study)
        write_atomically(target / _PACKED, "".join(line + "\n" for line in lines))
        for name in (NETWORKS, LATENCY):
            if (self.path / name).is_file():
                write_json(target / name, read_json(self.path / name))
        return len(records)

    def read(self, name: str) -> dict[str, Any]:
        """A table such as `latency.json`; empty where there is none."""
        file = self.path / name
        return dict(read_json(file)) if file.is_file() else {}
