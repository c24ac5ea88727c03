"""Memory that the C library keeps for the next operation, or gives back to the system.

glibc maps every large buffer anew and gives it back when it is freed, and the kernel clears each page before it is used
again: at 224 x 224 pixels that is a third of the time of an operation. A process that only computes is better off with
one pool that grows to its peak and stays.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from pathlib import Path

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
_NEVER = 2**31 - 1
_GROWTH = 64 << 20  # bytes that the pool grows by at least

_keeps = False  # whether this process was told to keep what is freed


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
    global _keeps
    options = {_ARENA_MAX: 1, _MMAP_MAX: 0, _TRIM_THRESHOLD: _NEVER, _TOP_PAD: _GROWTH}
    _keeps = all(mallopt(option, value) == 1 for option, value in options.items())
    return _keeps


def resident_memory() -> int:
    """Bytes of this process that are in memory; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def give_back_freed_memory() -> None:
    """Ask glibc to give the system what is free in its pool, where `keep_freed_memory` told it to keep that.

    In a process that was not told so, memory is the program's own matter, and nothing happens.
    """
    if _keeps:
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
