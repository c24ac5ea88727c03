"""How many threads a small step is worth."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

_SMALL = 1 << 15  # pixels in a batch; 64 digits of 8x8 have 2^12, 128 CIFAR images 2^17


@contextlib.contextmanager
def few_threads(pixels: int, device: torch.device) -> Iterator[None]:
    """One thread for the block, if a batch is so small that several would mostly wait for each other.

    Splitting a tenth of a millisecond of work gains nothing on idle cores; on busy ones every layer waits for
    the thread that has no core, and a step takes ten times as long. The number of threads is put back after
    the block.

    Args:
        pixels: images in a batch times height times width.
        device: other devices than the CPU need nothing.
    """
    before = torch.get_num_threads()
    if device.type != "cpu" or pixels > _SMALL or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
