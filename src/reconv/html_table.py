"""Values as small HTML tables, for notebooks: a few dozen rows, bars for shares, the rest folded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

SHOWN = 30  # rows that are open

_STYLE = {
    "table": "border-collapse:collapse;font-size:0.9em",
    "number": "text-align:right;padding:1px 8px;font-variant-numeric:tabular-nums",
    "text": "text-align:left;padding:1px 8px",
    "track": "display:inline-block;width:80px;height:0.7em;background:rgba(128,128,128,.25)",
    "bar": "display:block;height:100%;background:#3b82c4",
}


@dataclass(frozen=True)
class Bar:
    """A cell drawn as a bar.

    Args:
        share: between 0 and 1. text: what stands beside it.
    """

    share: float
    text: str = ""


Cell = str | int | float | Bar | None


def html_table(title: str, header: Sequence[str], rows: Iterable[Sequence[Cell]], notes: Iterable[str] = ()) -> str:
    """A titled table as HTML, everything escaped; rows beyond `SHOWN` are folded.

    Example:
        >>> "16 of 32" in html_table("Widths", ["layer", "kept"], [["conv1", Bar(0.5, "16 of 32")]])
        True
    """
    lines = [_row(row) for row in rows]
    head = "".join(f'<th style="{_STYLE["text"]}">{escape(name)}</th>' for name in header)
    parts = [f"<div><b>{escape(title)}</b>", _table(head, lines[:SHOWN])]
    if len(lines) > SHOWN:
        parts += [f"<details><summary>{len(lines) - SHOWN} more</summary>", _table(head, lines[SHOWN:]), "</details>"]
    parts += [f"<p>{escape(note)}</p>" for note in notes]
    return "".join([*parts, "</div>"])


def _table(head: str, lines: Sequence[str]) -> str:
    return f'<table style="{_STYLE["table"]}"><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>'


def _row(cells: Sequence[Cell]) -> str:
    return f"<tr>{''.join(map(_cell, cells))}</tr>"


def _cell(value: Cell) -> str:
    if isinstance(value, Bar):
        width = 100 * min(max(value.share, 0.0), 1.0)
        bar = f'<span style="{_STYLE["track"]}"><span style="{_STYLE["bar"]};width:{width:.1f}%"></span></span>'
        return f'<td style="{_STYLE["text"]}">{bar} {escape(value.text)}</td>'
    if isinstance(value, str) or value is None:
        return f'<td style="{_STYLE["text"]}">{escape(value or "")}</td>'
    text = f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
    return f'<td style="{_STYLE["number"]}">{text}</td>'
