"""Many mutated files, each read once; every fault keeps the seed that makes it again."""

from __future__ import annotations

import random
import shutil
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from attempts import FAULT, attempt
from subjects import Subject


@dataclass
class Counts:
    """How attempts ended.

    Attributes:
        by_kind: kind -> outcome -> how often. faults: kind, seed and traceback of each.
    """

    by_kind: dict[str, Counter[str]] = field(default_factory=dict)
    faults: list[tuple[str, int, str]] = field(default_factory=list)

    def add(self, kind: str, seed: int, outcome: str, text: str) -> None:
        self.by_kind.setdefault(kind, Counter())[outcome] += 1
        if outcome == FAULT:
            self.faults.append((kind, seed, text))

    @property
    def total(self) -> int:
        return sum(sum(counter.values()) for counter in self.by_kind.values())


def fuzz_files(kinds: tuple[Subject, ...], seeds: range, folder: Path, counts: Counts, seconds: float = 20) -> None:
    """One mutated file for each seed, of the kinds in turns.

    Args:
        kinds: of files. seeds: each decides a mutation. folder: to write them to. counts: is added to.
        seconds: after which a reader counts as stuck.
    """
    for seed in seeds:
        kind = kinds[seed % len(kinds)]
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        kind.write(folder, random.Random(seed))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            counts.add(kind.name, seed, *attempt(lambda kind=kind: kind.read(folder), seconds))  # type: ignore[misc]
