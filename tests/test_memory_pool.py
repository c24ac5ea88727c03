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
from reconv.memory_pool import give_back_freed_memory, keep_freed_memory, resident_memory
kept = keep_freed_memory()
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
print(kept, before, resident_memory())
done.set()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc alone")
def test_pools_of_threads_are_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", _THREADS], capture_output=True, text=True, check=True)
    kept, before, after = done.stdout.split()
    if kept == "False":
        pytest.skip("another C library than glibc")
    assert 0 < int(after) < int(before)


_REPAIR = """
import sys, ctypes
import torch
from torch import nn
import reconv
from reconv.memory_pool import keep_freed_memory
from reconv.refit import Settings
if sys.argv[1] == "keep":
    print(keep_freed_memory())
else:
    print(None)
class Library:
    def malloc_trim(self, pad):
        print("given back")
ctypes.CDLL = lambda name: Library()
model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)).eval()
images = torch.randn(16, 3, 64, 64)
graph = reconv.trace(model, images[:1])
plan = reconv.choose(graph, reconv.score(graph, "l2"), reconv.Budget(macs=0.5))
small = reconv.prune(model, plan)
reconv.repair(small, plan=plan, reference=model, images=images, settings=Settings(memory=1))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc alone")
def test_a_repair_leaves_the_memory_of_a_library_users_process_alone() -> None:
    def told(how: str) -> list[str]:
        done = subprocess.run([sys.executable, "-c", _REPAIR, how], capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    assert told("leave") == ["None"]
    kept = told("keep")
    if kept[0] == "False":
        pytest.skip("another C library than glibc")
    assert "given back" in kept
