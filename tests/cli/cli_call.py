"""What a command left, for the tests of the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """What a command left: its exit code, and what it said."""

    code: int
    out: str
    err: str


Call = Callable[..., Answer]
