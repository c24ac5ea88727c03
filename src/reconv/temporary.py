"""Temporary names beside the place of a file or folder, what is left of them, and bringing content to the disk.

A temporary file or folder is locked while a process writes it. The lock ends with the process, however it ends, so that
what a killed one has left is told from what another one is writing, and is removed by the next that writes there.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

_ENDING = ".part"
_RANDOM = "[0-9a-f]{8}"
_ANY = rf"\..*\.{_RANDOM}{re.escape(_ENDING)}"
_LONGEST = 200  # bytes of a name that are kept in the temporary one; most file systems take 255


def beside_of(path: Path, ending: str = _ENDING) -> Path:
    """A new temporary name beside a path, on the same file system."""
    return path.parent / f"{_start_of(path)}{os.urandom(4).hex()}{ending}"


def names_beside(path: Path, ending: str = _ENDING) -> list[Path]:
    """The temporary names beside a path that `beside_of` has made for it and that are there."""
    shape = re.compile(re.escape(_start_of(path)) + _RANDOM + re.escape(ending))
    folder = path.absolute().parent
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return sorted(folder / entry.name for entry in entries if shape.fullmatch(entry.name))
    return []


def is_temporary(name: str) -> bool:
    """Whether `beside_of` gives such names."""
    return re.fullmatch(_ANY, name) is not None


def _start_of(path: Path) -> str:
    return f".{os.fsencode(path.name)[:_LONGEST].decode(errors='ignore')}."


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Show other processes that a temporary file or folder is being written, for as long as this process lives."""
    lock = _locked(path)
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)


def _locked(path: Path) -> int | None:
    """A descriptor that holds the lock of a path; None where another process has it, or there are no locks."""
    if sys.platform == "win32":
        return None
    import fcntl

    descriptor = None
    try:
        descriptor = os.open(path, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        if descriptor is not None:
            os.close(descriptor)
        return None
    return descriptor


def remove_leftovers(path: Path, ending: str = _ENDING) -> None:
    """Remove what processes that were killed while they wrote this path have left beside it."""
    _remove_unwritten(names_beside(path, ending))


def remove_leftovers_in(folder: Path) -> None:
    """Remove what processes that were killed while they wrote into this folder, at any depth, have left there."""
    for here, folders, files in os.walk(folder):
        _remove_unwritten([Path(here) / name for name in (*folders, *files) if is_temporary(name)])


def _remove_unwritten(leftovers: list[Path]) -> None:
    for leftover in leftovers:
        if (lock := _locked(leftover)) is not None:
            remove_whole(leftover)
            os.close(lock)


def remove_whole(path: Path) -> None:
    """Remove a temporary file or folder, as far as that can be done."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Bring a file's content to the disk."""
    _sync(path, os.O_RDWR | getattr(os, "O_BINARY", 0))


def sync_folder(path: Path) -> None:
    """Bring a folder's names to the disk, where the system can."""
    if sys.platform != "win32":
        _sync(path, os.O_RDONLY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems cannot
            raise
    finally:
        os.close(descriptor)
