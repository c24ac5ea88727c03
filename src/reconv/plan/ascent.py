"""The highest point of a concave function that is a minimum of planes (cutting planes).

    f(p) <= f(p_k) + g_k (p - p_k)        for every point p_k evaluated so far, g_k a slope there

The next point is where the lowest of these planes is highest: a linear program with as many variables as p has. What
it promises there is never below f, so that its distance from the best value seen says when to stop.

Source: Kelley, *The cutting-plane method for solving convex programs*, 1960.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from reconv.cost.terms import Values

HIGHEST_PRICE = 400.0  # upper end of the prices searched: of the whole cost, in units of everything that can be lost

Function = Callable[[Values], tuple[float, Values]]


def highest(function: Function, low: Values, high: Values, *, tolerance: float = 1e-5, evaluations: int = 60) -> Values:
    """Where the function is highest within a box, about.

    Args:
        function: of a point, gives its value and a slope. low, high: corners of the box.
        tolerance: relative, of the value. evaluations: the most points at which the function is computed.
    """
    best, at = -np.inf, low
    slopes, heights = [], []
    point = low
    for evaluation in range(evaluations):
        value, slope = function(point)
        if value > best:
            best, at = value, point
        slopes.append(slope)
        heights.append(value - float(slope @ point))
        if evaluation == 0:
            point = high
            continue
        promised, point = _top(np.array(slopes), np.array(heights), low, high)
        if promised - best <= tolerance * max(abs(best), 1e-300):
            break
    return at


def _top(slopes: Values, heights: Values, low: Values, high: Values) -> tuple[float, Values]:
    """The highest point below all planes: its height, and where."""
    if slopes.shape[1] == 1:
        return _top_of_lines(slopes[:, 0], heights, low, high)
    from scipy.optimize import linprog  # takes a while to load, and most budgets have one limit

    scale = np.abs(slopes).max(0).clip(1e-300)  # a plane's height changes by about one along each variable
    matrix = np.hstack([-slopes / scale, np.ones((len(slopes), 1))])
    bounds = [*zip(low * scale, high * scale, strict=True), (None, None)]
    optimum = linprog([*np.zeros(slopes.shape[1]), -1.0], A_ub=matrix, b_ub=heights, bounds=bounds, method="highs")
    if optimum.x is None:
        return -np.inf, low
    return float(optimum.x[-1]), np.asarray(optimum.x[:-1] / scale, dtype=np.float64)


def _top_of_lines(slopes: Values, heights: Values, low: Values, high: Values) -> tuple[float, Values]:
    crossing = low.tolist()
    rising, falling = slopes > 0, slopes <= 0
    if rising.any() and falling.any():
        less = slopes[rising][:, None] - slopes[falling][None]
        points = (heights[falling][None] - heights[rising][:, None]) / less
        crossing += points[(points > low[0]) & (points < high[0])].tolist()
    points = np.array([*crossing, high[0]])
    tops = (slopes[:, None] * points + heights[:, None]).min(0)
    return float(tops.max()), points[[tops.argmax()]]
