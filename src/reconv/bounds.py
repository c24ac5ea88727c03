"""One-sided bounds of how much a network loses, from images that it has not been chosen on.

Each is an upper bound of a share, or of a difference of two shares, that is too low with a probability of at most one
less the level, whatever the truth is; of other metrics a bootstrap's quantile, which holds for many images only.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

LEVEL = 0.95
_NUISANCE = 0.1  # of what a bound may be wrong by: spent on how often two networks differ at all
_GRID = 33  # values of that, over which the worst is taken
_STEPS = 24  # of a bisection of shares
_DEVIATIONS = 8  # standard ones, beyond which the number of differing images is not looked at

Floats = npt.NDArray[np.float64]


def upper_share(count: int, images: int, level: float = LEVEL) -> float:
    """The largest share of which so few images would be found with a probability above 1 - level.

    Args:
        count: of the images that have the property. images: that were drawn. level: of confidence, one-sided.

    Source: Clopper & Pearson, Biometrika 26 (1934).

    Example:
        >>> round(upper_share(0, 299), 4)
        0.01
    """
    from scipy.stats import beta

    return 1.0 if count >= images else float(beta.ppf(level, count + 1, images - count))


def upper_difference(lost: int, gained: int, images: int, level: float = LEVEL) -> float:
    """The largest difference of two shares that fits paired counts: the share lost less the share gained.

    Only images on which two networks differ tell anything; how many those are is a nuisance parameter. It is bounded
    first (Clopper-Pearson, a tenth of 1 - level), and the worst value within is taken for the tail probability of
    lost - gained, a sum of independent -1, 0 and 1.

    Args:
        lost: images that only the first network gets right. gained: those that only the second does.
        images: that both were tried on. level: of confidence, one-sided.

    Source: Berger & Boos, JASA 89 (1994); for paired shares Lloyd & Moldovan, Statistics in Medicine 27 (2008).

    Example:
        >>> 0.004 < upper_difference(30, 20, 2500) < 0.012
        True
    """
    alpha = 1 - level
    spent = _NUISANCE * alpha
    most = upper_share(lost + gained, images, 1 - spent / 2)
    least = 1 - upper_share(images - lost - gained, images, 1 - spent / 2)
    low, high = (lost - gained) / images, most
    for _ in range(_STEPS):
        middle = (low + high) / 2
        differing = np.linspace(max(least, abs(middle)), most, _GRID)
        fits = _tails(lost - gained, images, differing, middle).max() > alpha - spent
        low, high = (middle, high) if fits else (low, middle)
    return high


def _tails(most: int, images: int, differing: Floats, difference: float) -> Floats:
    """The probability of lost - gained <= most, [differing].

    Args:
        differing: shares of images on which the networks differ, ascending. difference: of the shares lost and gained.
    """
    from scipy.special import bdtr, gammaln, xlog1py, xlogy

    spread = _DEVIATIONS * np.sqrt(images * differing[-1]) + _DEVIATIONS**2
    first, last = max(images * differing[0] - spread, 0), min(images * differing[-1] + spread, images)
    m = np.arange(int(first), int(last) + 1)[None]  # images on which they differ
    p = differing[:, None]
    logarithm = gammaln(images + 1) - gammaln(m + 1) - gammaln(images - m + 1) + xlogy(m, p) + xlog1py(images - m, -p)
    of_lost = np.clip((1 + difference / np.maximum(p, 1e-300)) / 2, 0.0, 1.0)
    at_most = np.floor((most + m) / 2)
    inside = (at_most >= 0) & (at_most < m)
    tails = np.where(at_most >= m, 1.0, 0.0)
    tails = np.where(inside, bdtr(np.where(inside, at_most, 0.0), np.maximum(m, 1), of_lost), tails)
    return np.asarray((np.exp(logarithm) * tails).sum(1), dtype=np.float64)


def upper_quantile(replicates: Floats, level: float = LEVEL) -> float:
    """The bootstrap's bound: what so large a share of the replicates does not exceed.

    Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993), percentile intervals.
    """
    return float(np.quantile(replicates, level))


def fewest_images(limit: float, bound: Callable[[int], float]) -> int:
    """How many images it takes so that no loss at all among them bounds the loss by a limit.

    Args:
        limit: a share. bound: of so many images of which none is lost; it falls as they become more.

    Example:
        >>> fewest_images(0.01, lambda n: upper_share(0, n)), fewest_images(0.05, lambda n: upper_difference(0, 0, n))
        (299, 86)
    """
    low, high = 0, 1
    while bound(high) > limit:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if bound(middle) > limit else (low, middle)
    return high
