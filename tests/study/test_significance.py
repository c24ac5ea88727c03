"""What a difference's interval promises."""

from __future__ import annotations

import numpy as np
import pytest

from reconv.significance import Replicates, interval, mcnemar, mean_interval, spread

_RNG = np.random.default_rng(1)
_A = _RNG.random(2000) < 0.9
_FLIPPED = _RNG.random(2000) < 0.02
_B = _A ^ _FLIPPED  # agrees with a but on 2 % of the images
_C = _RNG.random(2000) < 0.9


def test_an_accuracys_interval_is_the_binomials() -> None:
    result = Replicates({"a": _A}).accuracy(["a"])
    p = _A.mean()
    expected = 1.96 * np.sqrt(p * (1 - p) / len(_A))
    assert result.value == pytest.approx(p)
    assert (result.high - result.low) / 2 == pytest.approx(expected, rel=0.1)


def test_a_difference_to_oneself_is_nothing() -> None:
    replicates = Replicates({"a": _A, "again": _A.copy()})
    result = interval(*replicates.difference(["a"], ["again"]))
    assert (result.value, result.low, result.high) == (0, 0, 0)
    assert not result.excludes_zero


def test_pairing_by_images_narrows_the_interval() -> None:
    replicates = Replicates({"a": _A, "b": _B, "c": _C})
    paired = interval(*replicates.difference(["a"], ["b"]))
    unpaired = interval(*replicates.difference(["a"], ["c"]))
    assert paired.high - paired.low < 0.5 * (unpaired.high - unpaired.low)
    expected = 2 * 1.96 * np.sqrt(np.var(_A.astype(float) - _B) / len(_A))
    assert paired.high - paired.low == pytest.approx(expected, rel=0.1)


def test_differences_are_antisymmetric_and_the_seed_decides() -> None:
    one, other = Replicates({"a": _A, "b": _B}), Replicates({"a": _A, "b": _B})
    forth = interval(*one.difference(["a"], ["b"]))
    back = interval(*other.difference(["b"], ["a"]))
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low))


def test_seeds_widen_the_interval() -> None:
    low, high = _A & (_RNG.random(2000) < 0.8), _A
    replicates = Replicates({"low": low, "high": high, "b": _B})
    one = replicates.accuracy(["high"])
    several = replicates.accuracy(["low", "high"])
    assert several.high - several.low > 2 * (one.high - one.low)
    # Seeds that both sides have are drawn together, so they cancel.
    result = interval(*replicates.difference(["low", "high"], ["low", "high"]))
    assert (result.low, result.high) == (0, 0)


def test_a_mean_of_differences_that_were_resampled_together() -> None:
    replicates = Replicates({"a": _A, "b": _B})
    part = replicates.difference(["a"], ["b"])
    assert mean_interval([part, part]) == interval(*part)


def test_what_else_is_known_does_not_change_an_interval() -> None:
    cells = {"a": _A, "b": _B, "c": _C}
    few, many = Replicates({"a": _A, "b": _B}), Replicates(cells)
    many.accuracy(["c", "a", "b"])
    assert many.accuracy(["a", "b"]) == few.accuracy(["a", "b"])
    assert interval(*many.difference(["a", "b"], ["b", "b"])) == interval(*few.difference(["a", "b"], ["b", "b"]))


def test_mcnemar() -> None:
    a = np.array([True] * 9 + [False] * 1 + [True] * 50)
    b = np.array([False] * 9 + [True] * 1 + [True] * 50)
    assert mcnemar(a, b) == (9, 1, pytest.approx(22 / 1024))  # 2 (C(10,0) + C(10,1)) / 2^10
    assert mcnemar(b, a)[:2] == (1, 9)
    assert mcnemar(a, a) == (0, 0, 1.0)


def test_spread_needs_two() -> None:
    assert spread([0.5]) is None
    assert spread([1.0, 3.0]) == pytest.approx(2**0.5)


def test_seeds_of_two_sides_are_drawn_together_only_where_they_are_the_same() -> None:
    low, high = _A & (_RNG.random(2000) < 0.8), _A
    replicates = Replicates({"low": low, "high": high})
    paired = interval(*replicates.difference(["low", "high"], ["low", "high"]))
    apart = interval(*replicates.difference(["low", "high"], ["low", "high"], paired=False))
    assert (paired.low, paired.high) == (0, 0)
    assert apart.low < -0.05
    assert apart.high > 0.05
