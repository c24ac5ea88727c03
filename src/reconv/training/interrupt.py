"""Ctrl-C and SIGTERM, noticed between two steps instead of within one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType

Handler = Callable[[int, FrameType | None], None]


class Interrupted(KeyboardInterrupt):
    """Training was asked to stop and did, after a whole step; the message says how to go on.

    A `KeyboardInterrupt`, since that is what the user meant; nothing that catches errors swallows it.
    """


class StopRequest:
    """Remembers the first signal, by its name; the second interrupts at once."""

    received = ""

    def remember(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if self.received:
            raise KeyboardInterrupt
        self.received = signal.Signals(number).name


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Within the block Ctrl-C and SIGTERM are remembered, and do nothing else."""
    request = StopRequest()
    with _handled(request.remember, signal.SIGINT, signal.SIGTERM):
        yield request


def sigterm_is_ctrl_c() -> AbstractContextManager[None]:
    """Within the block SIGTERM is a `KeyboardInterrupt`."""
    return _handled(_interrupt, signal.SIGTERM)


@contextmanager
def _handled(handler: Handler, *numbers: signal.Signals) -> Iterator[None]:
    """Signals go to a handler; only in the main thread, since no other can set one: there nothing changes."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, handler) for number in numbers if in_main_thread}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
