"""How alike two scores rank the same channels."""

from __future__ import annotations

import torch
from torch import Tensor

from reconv.errors import ConfigError


def kendall_tau(a: Tensor, b: Tensor) -> float:
    """Kendall's tau-b: agreeing minus disagreeing pairs, over the geometric mean of a's and b's untied pairs.

    Args:
        a, b: [n] each, n >= 2; of any two dtypes that can be ordered.

    Returns:
        From -1 (reversed) to 1 (the same order); NaN where all of a, or all of b, are equal.

    Raises:
        ConfigError: different or too small n.

    Cost: n^2 signs.
    Source: Kendall, "The treatment of ties in ranking problems", Biometrika 33, 1945.
    """
    if a.ndim != 1 or a.shape != b.shape or len(a) < 2:
        raise ConfigError(
            f"kendall_tau: shapes {tuple(a.shape)} and {tuple(b.shape)}; give two lists of n >= 2 numbers."
        )
    order_a, order_b = _pair_order(a), _pair_order(b)
    agreement = (order_a * order_b).sum().item()
    untied = order_a.abs().sum().item() * order_b.abs().sum().item()
    return float(agreement / untied**0.5) if untied else float("nan")


def _pair_order(values: Tensor) -> Tensor:
    """[n, n]: the sign of every difference."""
    values = values.detach().cpu().double()
    return torch.sign(values[:, None] - values[None, :])
