"""Texts that people read in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

WIDTH = 120  # characters of a line


def limit_lines(lines: Sequence[str], limit: int = 20) -> str:
    """One text of at most `limit` lines, each of at most `WIDTH` characters; its last line says how many are left out.

    Example:
        >>> print(limit_lines([f"layer {i}" for i in range(100)], limit=3))
        layer 0
        layer 1
        ... and 98 more
    """
    lines = [line if len(line) <= WIDTH else line[: WIDTH - 3] + "..." for line in lines]
    if len(lines) > limit:
        lines = [*lines[: limit - 1], f"... and {len(lines) - limit + 1} more"]
    return "\n".join(lines)
