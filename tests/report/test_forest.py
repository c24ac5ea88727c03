"""Differences around zero: where each lies, and what is too far away."""

from __future__ import annotations

import re

import pytest

from reconv.report import Difference, Forest, render_forest
from reconv.report.plots import ROW, draw_forest


def _row(value: float, half: float = 0.2, name: str = "one") -> Difference:
    return Difference(name, value, value - half, value + half, f"{value:+.2f}")


def test_places_are_in_proportion_and_zero_is_where_nothing_differs() -> None:
    drawn = draw_forest(Forest("t", "x", (_row(-1.0), _row(0.0), _row(1.0))), width=100)
    assert drawn.x(0) == pytest.approx(50)
    assert drawn.x(1.0) - drawn.x(0) == pytest.approx(drawn.x(0) - drawn.x(-1.0))
    assert drawn.x(1.2) - drawn.x(0.8) == pytest.approx(drawn.x(-0.8) - drawn.x(-1.2))
    assert [drawn.y(row + 0.5) for row in range(3)] == pytest.approx([0.5 * ROW, 1.5 * ROW, 2.5 * ROW])
    assert drawn.height == 3 * ROW


def test_ticks_have_a_sign_and_zero_has_none() -> None:
    text = render_forest(Forest("t", "x", (_row(-1.0), _row(1.0))))
    assert all(f">{tick}</text>" in text for tick in ("−1", "0", "+1"))


@pytest.mark.parametrize("values", [(1.0, 2.0), (-3.0, -2.0)])
def test_zero_is_in_the_picture_even_if_all_are_on_one_side(values: tuple[float, ...]) -> None:
    drawn = draw_forest(Forest("t", "x", tuple(map(_row, values))), width=100)
    assert 0 < drawn.x(0) < 100
    assert not any(map(drawn.x.beyond, values))


def test_what_is_far_away_is_at_its_edge_and_the_others_are_as_without_it() -> None:
    near = (_row(-0.5), _row(0.3), _row(0.8))
    alone = draw_forest(Forest("t", "x", near))
    among = draw_forest(Forest("t", "x", (*near, _row(-20.0, 2.0), _row(30.0, 1.0))))
    assert [among.x.beyond(value) for value in (-0.5, 0.3, 0.8, -20.0, 30.0)] == [0, 0, 0, -1, 1]
    assert among.x == alone.x
    assert (among.x(-20.0), among.x(30.0)) == (0, among.width)


def test_rows_that_do_not_differ_at_all_are_drawn() -> None:
    drawn = draw_forest(Forest("t", "x", (_row(0.0, 0.0), _row(0.0, 0.0))), width=100)
    assert drawn.x(0) == pytest.approx(50)


@pytest.mark.parametrize(
    ("value", "half", "beyond"), [(0.5, 0.2, True), (-0.5, 0.2, True), (0.1, 0.2, False), (0.2, 0.2, False)]
)
def test_beyond_noise_is_told_by_weight(value: float, half: float, beyond: bool) -> None:
    row = _row(value, half)
    assert row.is_beyond_noise is beyond
    assert ('class="beyond"' in render_forest(Forest("t", "x", (row,)))) is beyond


def test_a_file_of_its_own_says_everything_and_escapes_it() -> None:
    rows = (_row(0.5, name="<b>"), _row(-9.0, name="far"), _row(0.2), _row(0.1))
    text = render_forest(Forest("a & b", "points", rows))
    assert text.startswith("<svg")
    assert re.search(r"<title>a &amp; b</title>", text)
    assert "&lt;b&gt;" in text
    assert "<b>" not in text
    assert all(f">{row.text}</text>" in text for row in rows)
