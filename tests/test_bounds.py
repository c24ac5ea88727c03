"""One-sided bounds of losses: coverage by enumeration, and agreement with what is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta, multinomial

from reconv.bounds import fewest_images, upper_difference, upper_quantile, upper_share


@pytest.mark.parametrize(("count", "images"), [(0, 299), (6, 250), (30, 30)])
def test_a_share_is_bounded_as_the_beta_distribution_says(count: int, images: int) -> None:
    expected = 1.0 if count == images else beta.ppf(0.95, count + 1, images - count)
    assert upper_share(count, images) == pytest.approx(expected)


def test_a_difference_is_covered_whatever_the_truth() -> None:
    n = 12
    bounds = {(b, c): upper_difference(b, c, n) for b in range(n + 1) for c in range(n + 1 - b)}
    for lost, gained in ((0.05, 0.0), (0.1, 0.1), (0.3, 0.05), (0.05, 0.3), (0.5, 0.5), (0.9, 0.05)):
        covered = sum(
            multinomial.pmf([b, c, n - b - c], n, [lost, gained, 1 - lost - gained])
            for (b, c), bound in bounds.items()
            if bound >= lost - gained
        )
        assert covered >= 0.95


def test_a_difference_is_bounded_more_closely_than_by_two_separate_bounds() -> None:
    lost, gained, n = 35, 25, 2500
    apart = upper_share(lost, n, 0.975) - (1 - upper_share(n - gained, n, 0.975))
    assert (lost - gained) / n < upper_difference(lost, gained, n) < 0.85 * apart


def test_more_lost_or_more_confidence_is_a_higher_bound() -> None:
    assert upper_difference(3, 1, 200) < upper_difference(4, 1, 200) < upper_difference(4, 1, 200, 0.99)
    assert upper_quantile(np.arange(101) / 100.0, 0.95) == pytest.approx(0.95)


def test_so_few_images_do() -> None:
    bound = lambda n: upper_share(0, n)  # noqa: E731
    needed = fewest_images(0.05, bound)
    assert bound(needed) <= 0.05 < bound(needed - 1)
