"""Several processes that train together, as `torchrun` and `accelerate launch` start them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import torch

from reconv.optional import optional


def process_count() -> int:
    """How many processes the launcher started; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first_process() -> bool:
    """Whether this is the process that writes and speaks."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def connected(device: str) -> Iterator[None]:
    """Within the block all processes know each other, and each has its own device for "auto" or "cuda".

    Args:
        device: "cpu" connects them by gloo; anything else lets Accelerate choose.
    """
    if process_count() == 1:
        yield
        return
    optional("accelerate.state", "training in several processes").PartialState(cpu=device == "cpu")
    try:
        yield
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def wait_for_all() -> None:
    """Go on when every process has come here."""
    if process_count() > 1:
        torch.distributed.barrier()


@contextmanager
def first_process_first() -> Iterator[None]:
    """The first process does the block alone, then all others: what it downloads is there for them."""
    if not is_first_process():
        wait_for_all()
    yield
    if is_first_process():
        wait_for_all()


def leave(code: int) -> NoReturn:
    """End a process that trained with others, without the interpreter's own end.

    PyTorch's threads may still run by then and abort a process that has done its work; the launcher would then stop
    the others and report a failure (PyTorch 2.15 with gloo, on a busy machine).
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
