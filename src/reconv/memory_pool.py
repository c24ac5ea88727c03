"""Memory that the C library keeps for the next operation instead of giving it back to the system after each.

glibc maps every large buffer anew and gives it back when it is freed, and the kernel clears each page before it is used
again: at 224 x 224 pixels that is a third of the time of an operation. A process that only computes is better off with
one pool that grows to its peak and stays.
"""

from __future__ import annotations

import ctypes
import sys

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
_NEVER = 2**31 - 1
_GROWTH = 64 << 20  # bytes that the pool grows by at least


def keep_freed_memory() -> bool:
    """Tell glibc to keep what is freed, in this process and for good; whether it was told.

    The command line does it first of all. A program that uses reconv as a library decides for itself.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    options = {_ARENA_MAX: 1, _MMAP_MAX: 0, _TRIM_THRESHOLD: _NEVER, _TOP_PAD: _GROWTH}
    return all(mallopt(option, value) == 1 for option, value in options.items())
