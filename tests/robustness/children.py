"""Processes that are forked from a warm one, so that an attack on a whole command costs no start, and killed."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KILLED, CRASHED, STUCK = -1, -2, -3
_CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "os.link", "os.truncate")
_TRACEBACK = 70


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        code: its exit code; KILLED, CRASHED (by another signal), or STUCK (it took too long).
        out, err: what it printed.
        seconds: it took. events: how many of `_CHANGES` and openings for writing it made.
    """

    code: int
    out: str
    err: str
    seconds: float
    events: int


@dataclass(frozen=True)
class Attack:
    """When a process is interfered with.

    Attributes:
        after: seconds after which it is killed; None: not by time.
        at_event: the event (a change of the disk) before which it is killed; None: not by events.
        full_from: the event from which on the disk is full, for this process; None: it never is.
    """

    after: float | None = None
    at_event: int | None = None
    full_from: int | None = None


UNTOUCHED = Attack()


def run_forked(act: Callable[[], int], scratch: Path, attack: Attack = UNTOUCHED, limit: float = 300) -> Ended:
    """Run a function in a child process.

    Args:
        act: gives the exit code; a traceback is code 70.
        scratch: a folder for what it prints. attack: on it. limit: seconds until it counts as stuck.
    """
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        _be_child(act, scratch, attack)
    deadline = start + (limit if attack.after is None else attack.after)
    status = None
    while status is None and time.monotonic() < deadline:
        done, code = os.waitpid(child, os.WNOHANG)
        status = code if done else None
        time.sleep(0.002)
    if status is None:
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if attack.after is None:
            return _ended(STUCK, scratch, start)
    if os.WIFSIGNALED(status):
        return _ended(KILLED if os.WTERMSIG(status) == signal.SIGKILL else CRASHED, scratch, start)
    return _ended(os.WEXITSTATUS(status), scratch, start)


def _ended(code: int, scratch: Path, start: float) -> Ended:
    texts = [(scratch / name).read_text(errors="replace") for name in ("out", "err", "events")]
    return Ended(code, texts[0], texts[1], time.monotonic() - start, len(texts[2]))


def _be_child(act: Callable[[], int], scratch: Path, attack: Attack) -> None:
    """Never returns."""
    code = _TRACEBACK
    try:
        files = [os.open(scratch / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) for name in ("out", "err", "events")]
        os.dup2(files[0], 1)
        os.dup2(files[1], 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        sys.addaudithook(_watcher(files[2], attack))
        code = act()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _watcher(count: int, attack: Attack) -> Callable[[str, tuple[Any, ...]], None]:
    events = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal events
        if not (event in _CHANGES or (event == "open" and _is_for_writing(arguments))):
            return
        events += 1
        os.write(count, b".")
        if attack.at_event is not None and events >= attack.at_event:
            os.kill(os.getpid(), signal.SIGKILL)
        frees = event in ("os.remove", "os.rmdir", "shutil.rmtree")
        if attack.full_from is not None and events >= attack.full_from and not frees:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(arguments[0]))

    return watch


def _is_for_writing(arguments: tuple[Any, ...]) -> bool:
    path, _, flags = arguments
    on_disk = isinstance(path, str | bytes) and not os.fsdecode(path).startswith(("/dev/", "/proc/", "/sys/"))
    return on_disk and isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def one_line(err: str) -> str:
    """The error that a command ended with: its last line; "" where it is not one line that begins with `error:`."""
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    return lines[0] if len(lines) == 1 and err.rstrip().splitlines()[-1] == lines[0] else ""
