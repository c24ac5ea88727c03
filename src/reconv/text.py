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


def names_shown(names: Sequence[str]) -> str:
    """Dotted names; those that differ in one number only are drawn together, as in `layer1.{0,1,2}.conv2`."""
    shapes: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        parts = name.split(".")
        numbers = [i for i, part in enumerate(parts) if part.isdigit()]
        last = numbers[-1] if numbers else -1
        key = tuple("{}" if i == last else part for i, part in enumerate(parts))
        shapes.setdefault(key, []).append(parts[last] if numbers else "")
    return ", ".join(
        ".".join(key).replace("{}", alike[0] if len(alike) == 1 else f"{{{','.join(alike)}}}")
        for key, alike in shapes.items()
    )
