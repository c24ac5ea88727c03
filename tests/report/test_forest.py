"""Differences around zero: where each lies, and what is too far away."""

from __future__ import annotations

import re

import pytest

from reconv.report import Difference, Forest, render_forest
from reconv.report.forest import ROW, draw_forest


def _row(value: float, half: float = 0.2, name: str = "one") -> Difference:
    return Difference(name, value, value - half, value + half, f"{value:+.2f}")


def test_places_are_in_proportion_and_zero_is_where_nothing_differs() -> None:
    drawn = draw_forest(Forest("t", "x", (_row(-1.0), _row(0.0), _row(1.0))), width=100)
    assert drawn.zero == pytest.approx(50)
    minus, none, plus = drawn.twigs
    assert (none.low + none.high) / 2 == pytest.approx(drawn.zero)
    assert plus.low - drawn.zero == pytest.approx(drawn.zero - minus.high)
    assert plus.high - plus.low == pytest.approx(minus.high - minus.low)
    assert [twig.y for twig in drawn.twigs] == [0.5 * ROW, 1.5 * ROW, 2.5 * ROW]
    assert drawn.height == 3 * ROW
    at = {text: x for x, text in drawn.x_ticks}
    assert at["0"] == pytest.approx(drawn.zero)
    assert at["−1"] == pytest.approx((minus.low + minus.high) / 2)
    assert at["+1"] == pytest.approx((plus.low + plus.high) / 2)


@pytest.mark.parametrize("values", [(1.0, 2.0), (-3.0, -2.0)])
def test_zero_is_in_the_picture_even_if_all_are_on_one_side(values: tuple[float, ...]) -> None:
    drawn = draw_forest(Forest("t", "x", tuple(map(_row, values))), width=100)
    assert 0 < drawn.zero < 100
    assert not any(twig.beyond for twig in drawn.twigs)


def test_what_is_far_away_is_at_its_edge_and_the_others_are_as_without_it() -> None:
    near = (_row(-0.5), _row(0.3), _row(0.8))
    alone = draw_forest(Forest("t", "x", near))
    among = draw_forest(Forest("t", "x", (*near, _row(-20.0, 2.0), _row(30.0, 1.0))))
    assert [twig.beyond for twig in among.twigs] == [0, 0, 0, -1, 1]
    assert [(twig.low, twig.high) for twig in among.twigs[:3]] == [(twig.low, twig.high) for twig in alone.twigs]
    assert all(0 <= end <= among.width for twig in among.twigs for end in (twig.low, twig.high))


def test_rows_that_do_not_differ_at_all_are_drawn() -> None:
    drawn = draw_forest(Forest("t", "x", (_row(0.0, 0.0), _row(0.0, 0.0))), width=100)
    assert drawn.zero == pytest.approx(50)
    assert not any(twig.beyond for twig in drawn.twigs)


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
