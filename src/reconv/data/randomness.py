"""Randomness that is a function of where we are, not of what ran before.

Every draw comes from a generator seeded by (seed, epoch, step, ...). So a run that is resumed at some
position draws what the uninterrupted one drew there, on any number of processes, and the position is all the
state there is.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

import torch


def derive_seed(seed: int, *position: int | str) -> int:
    """A 63-bit seed for a position: equal positions give equal seeds, others unrelated ones."""
    key = ",".join(str(part) for part in (seed, *position))
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()) >> 1


def generator(seed: int, *position: int | str) -> torch.Generator:
    """A fresh CPU generator for a position; the global one is left alone."""
    return torch.Generator().manual_seed(derive_seed(seed, *position))


@contextlib.contextmanager
def seeded(seed: int, *position: int | str) -> Iterator[None]:
    """Seed the CPU's global generator for the block, for code that takes no generator; put it back after."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(seed, *position))
        yield
