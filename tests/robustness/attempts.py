"""One attempt at something that may be refused: how it ended, and whether that is how it may end."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from reconv.errors import ReconvError

DONE, REFUSED, FAULT = "done", "refused in one line", "fault"
_LONGEST_LINE = 3_000


class TooLong(BaseException):
    """An attempt that takes longer than anything should."""


class Accepted(BaseException):
    """The work that was asked for would begin now."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """End what takes longer with `TooLong`; in the main thread of a system that has alarms."""

    def end(*_: object) -> None:
        raise TooLong(f"more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def attempt(act: Callable[[], object], seconds: float = 20) -> tuple[str, str]:
    """Try something.

    Returns:
        DONE, REFUSED or FAULT; and the refusal, or the fault's traceback.
    """
    try:
        with limited(seconds):
            act()
    except ReconvError as error:
        line = str(error)
        if "\n" in line or not line.isprintable() or len(line) > _LONGEST_LINE or not line:
            return FAULT, f"not one line: {line!r}"[:500]
        return REFUSED, line
    except Accepted:
        return DONE, ""
    except (Exception, TooLong):
        return FAULT, traceback.format_exc()
    return DONE, ""
