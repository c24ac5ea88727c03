"""The command line keeps freed memory; a program that imports reconv is left alone."""

from __future__ import annotations

import subprocess
import sys

import pytest

_FAULTS = """
import resource, sys
from reconv.memory_pool import keep_freed_memory
print(keep_freed_memory() if sys.argv[1] == "keep" else None)
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
bytearray(40 << 20)
before = faults()
for _ in range(20):
    bytearray(40 << 20)[::4096]
print(faults() - before)
"""


def _run(how: str) -> tuple[str, int]:
    done = subprocess.run([sys.executable, "-c", _FAULTS, how], capture_output=True, text=True, check=True)
    told, faults = done.stdout.split()
    return told, int(faults)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc alone")
def test_pages_are_not_cleared_anew() -> None:
    told, kept = _run("keep")
    if told == "False":
        pytest.skip("another C library than glibc")
    assert told == "True"
    assert 10 * kept < _run("leave")[1]


_THREADS = """
import threading
from reconv.memory_pool import give_back_freed_memory, resident_memory
def work():
    held = [bytearray(40_000) for _ in range(1000)]
    del held[::2]
    barrier.wait()
    held.clear()
    barrier.wait()
    done.wait()
barrier, done = threading.Barrier(5), threading.Event()
threads = [threading.Thread(target=work) for _ in range(4)]
[thread.start() for thread in threads]
barrier.wait(); barrier.wait()
before = resident_memory()
give_back_freed_memory()
print(before, resident_memory())
done.set()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc alone")
def test_pools_of_threads_are_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", _THREADS], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert 0 < after < before
