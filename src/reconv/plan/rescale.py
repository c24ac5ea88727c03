"""How scores of layers of different size are made comparable, where one threshold is to hold for all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rescaling:
    """A way to bring the scores of one group of channels to a common scale.

    Args:
        words: what is done, for the plan. function: scores [n] -> scores [n], in the same order of size.
    """

    words: str
    function: Callable[[Values], Values]


def _over(scale: Callable[[Values], float]) -> Callable[[Values], Values]:
    return lambda scores: scores / max(scale(np.abs(scores)), 1e-300)


def _ranks(scores: Values) -> Values:
    return (np.argsort(np.argsort(scores, kind="stable")) + 1) / len(scores)


RESCALINGS = {
    "mean": Rescaling("divided by their mean", _over(lambda x: float(x.mean()))),
    "max": Rescaling("divided by their largest", _over(lambda x: float(x.max()))),
    "l2": Rescaling("divided by their Euclidean norm", _over(lambda x: float(np.sqrt((x * x).sum())))),
    "sum": Rescaling("divided by their sum", _over(lambda x: float(x.sum()))),
    "rank": Rescaling("replaced by their rank among them, from 0 to 1", _ranks),
    "none": Rescaling("as they are", lambda scores: scores),
}
