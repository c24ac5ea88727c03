"""Multiply-adds of a forward pass by PyTorch's own counter, which knows nothing of the engine's."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # which the counter does not know


def _attention_flops(query: torch.Size, key: torch.Size, value: torch.Size, *_: object, **__: object) -> int:
    """Queries by keys, and their weights by values: two operations each."""
    rows = query[:-1].numel()
    return 2 * rows * key[-2] * query[-1] + 2 * rows * key[-2] * value[-1]


def _rows_flops(matrix: torch.Size, *_: object, **__: object) -> int:
    """Of a matrix, or a vector, by a vector."""
    return 2 * matrix.numel()


_OWN = {_ATTENTION: _attention_flops} | dict.fromkeys(
    (torch.ops.aten.mv, torch.ops.aten.dot, torch.ops.aten.vdot), _rows_flops
)


def multiply_adds(forward: Callable[[], object]) -> int:
    """Of whatever a call runs; with gradients, else PyTorch's attention is not counted."""
    with FlopCounterMode(display=False, custom_mapping=_OWN) as counter:
        forward()
    return sum(counter.get_flop_counts().get("Global", {}).values()) // 2
