"""Forward passes over batches of images that go on together: each stops where it is told to, and waits.

A network's forward is the user's own code, so a pass can be stopped in the middle and gone on with later only if it has
a thread of its own. What a stopped pass holds are the few tensors that its code still needs, of its own batch; the
temporary ones of an operation exist for the passes that run, of which there are as many as threads compute. So all
images can wait at one layer, the layer be solved on them, and all go on with it, without the signals of any other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import torch

Pause: TypeAlias = Callable[[Any], None]


class _ClosedError(BaseException):
    """The pass is not gone on with; no `except Exception` of a network's code keeps it."""


class Walk:
    """One pass that stops with something to say, and goes on when it is asked for more.

    Args:
        run: the pass; it is given a function that it calls with what it stops for.
    """

    def __init__(self, run: Callable[[Pause], None]):
        self._run = run
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self._closing = False
        self._event: Any = None
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        self.finished = False

    def advance(self) -> Any:
        """Go on to the next stop; what the pass stops for, None at its end."""
        if self.finished:
            return None
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="reconv-walk", daemon=True)
            self._thread.start()
        else:
            self._go.release()
        self._stopped.acquire()
        event, self._event = self._event, None
        if self._error is not None:
            raise self._error
        return event

    def close(self) -> None:
        """Give the pass up, and what it holds."""
        if self._thread is not None and not self.finished:
            self._closing = True
            self._go.release()
            self._thread.join()
        self.finished = True

    def _pause(self, event: Any) -> None:
        self._event = event
        del event
        self._stopped.release()
        self._go.acquire()
        if self._closing:
            raise _ClosedError

    def _work(self) -> None:
        try:
            with torch.no_grad():
                self._run(self._pause)
        except _ClosedError:
            return
        except BaseException as error:
            self._error = error
        finally:
            self.finished = True
            self._stopped.release()


def close_all(walks: Iterable[Walk]) -> None:
    """Give all of them up."""
    for walk in walks:
        walk.close()
