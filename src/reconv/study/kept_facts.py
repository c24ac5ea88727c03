"""What a study's report shows, kept beside its results, so that the page can be made again without PyTorch."""

from __future__ import annotations

import hashlib
from pathlib import Path

from reconv import __version__
from reconv.errors import ReconvError
from reconv.files import read_json, write_json
from reconv.mappings import from_mapping, to_mapping
from reconv.report.study_facts import StudyFacts

_FILE = "facts.json"
_RESTS_ON = ("study.json", "cells.jsonl", "networks.json", "latency.json", "failed.json", "cells/*.json")


def keep_facts(facts: StudyFacts, folder: Path) -> None:
    """Write the facts, with a hash of the files that they rest on."""
    write_json(folder / _FILE, {"of": _hash(folder), "facts": to_mapping(facts)})


def kept_facts(folder: Path) -> StudyFacts | None:
    """The facts that lie in a study's folder; None where there are none, or the results have changed since."""
    file = folder / _FILE
    try:
        kept = read_json(file) if file.is_file() else {}
        if not isinstance(kept, dict) or kept.get("of") != _hash(folder):
            return None
        return from_mapping(StudyFacts, kept.get("facts"), str(file))
    except ReconvError:  # damaged, or of another version: they can be computed
        return None


def _hash(folder: Path) -> str:
    """Of the results, and of the version, which says how they are put into words."""
    digest = hashlib.sha256(__version__.encode())
    for pattern in _RESTS_ON:
        for path in sorted(folder.glob(pattern)):
            digest.update(f"\n{path.name} {path.stat().st_size}\n".encode() + path.read_bytes())
    return digest.hexdigest()
