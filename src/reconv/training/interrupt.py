"""Ctrl-C and SIGTERM, noticed between two steps instead of within one."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Interrupted(KeyboardInterrupt):
    """Training was asked to stop and did, after a whole step; the message says how to go on.

    A `KeyboardInterrupt`, since that is what the user meant; nothing that catches errors swallows it.
    """


class StopRequest:
    """While the block runs, the first Ctrl-C or SIGTERM is remembered; the second interrupts at once.

    Handlers can only be set in the main thread; in another one nothing is caught and the signals do what they
    did.
    """

    _SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        """No signal yet."""
        self.received: str = ""
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        """Set the handlers."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._remember) for number in self._SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the former handlers back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            raise KeyboardInterrupt
        self.received = signal.Signals(number).name
