"""Kendall's tau-b against SciPy's, and its laws."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau
from torch import Tensor

from reconv.errors import ConfigError
from reconv.rank import kendall_tau

PAIRS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=40)


@given(PAIRS)
def test_it_is_scipys(pairs: list[tuple[int, int]]) -> None:
    a, b = torch.tensor(pairs, dtype=torch.float64).T
    expected = float(kendalltau(a.numpy(), b.numpy()).statistic)
    found = kendall_tau(a, b)
    assert found == pytest.approx(expected, abs=1e-12) or (math.isnan(found) and math.isnan(expected))


def test_only_the_order_counts() -> None:
    a = torch.randn(50, dtype=torch.float64)
    assert kendall_tau(a, a.exp()) == pytest.approx(1)
    assert kendall_tau(a, -(a**3)) == pytest.approx(-1)


def test_constant_scores_have_no_order() -> None:
    assert math.isnan(kendall_tau(torch.ones(4), torch.arange(4)))


@pytest.mark.parametrize("b", [torch.zeros(3), torch.zeros(4, 1)])
def test_scores_of_different_layers_are_refused(b: Tensor) -> None:
    with pytest.raises(ConfigError, match=r"kendall_tau: shapes \(4,\) and"):
        kendall_tau(torch.zeros(4), b)
