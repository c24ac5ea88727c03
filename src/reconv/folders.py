"""Whole folders: one appears, or takes the place of another, at one instant, and none is ever lost in between.

A folder is written under a temporary name beside its place and brought to the disk. Where it replaces another, both
change their names at once, where the system can do that (Linux, macOS). Elsewhere the old one is moved aside first, and
whoever opens the folder after an interruption between the two steps puts it back.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from reconv.errors import ArtifactError
from reconv.files import PathLike, failure, usable, write_atomically
from reconv.temporary import (
    beside_of,
    held,
    is_temporary,
    names_beside,
    remove_leftovers,
    remove_whole,
    sync,
    sync_folder,
)

_MARKER = ".reconv"
_ASIDE = ".old"
_NOTHING: Mapping[str, str] = MappingProxyType({})


def check_replaceable(path: PathLike, *, overwrite: bool = False) -> None:
    """Refuse early what `output_folder` and `folder_at_once` would refuse: a file, or a folder with something in it.

    Raises:
        ArtifactError: something is there and may not be replaced, or the folder above it takes no files.
    """
    path = usable(path, "written")
    recover(path)
    try:
        if path.exists() and not path.is_dir():
            raise ArtifactError(f"{path}: is a file; give a folder.")
        if not is_empty(path):
            _refuse_unless_replaceable(path, overwrite=overwrite)
        nearest = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
        if not nearest.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "not a folder")
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "no rights")
    except OSError as error:
        raise failure("written", path, error) from None


def is_empty(path: Path) -> bool:
    """Whether there is no folder, or nothing in it but what a run that was killed at once leaves."""
    return not path.is_dir() or all(entry.name == _MARKER or is_temporary(entry.name) for entry in path.iterdir())


def output_folder(path: PathLike, *, overwrite: bool = False, first: Mapping[str, str] = _NOTHING) -> Path:
    """A folder to write results into as they appear, made with the folders above it.

    Args:
        path: the folder; an empty one that exists is fine.
        overwrite: replace what it holds; only a folder that reconv made is replaced (a marker file tells), so that no
            typing error deletes anybody's home.
        first: texts by the names of files that it holds from its first instant.

    Raises:
        ArtifactError: it holds files and may not be replaced, or cannot be made.
    """
    path = Path(path)
    check_replaceable(path, overwrite=overwrite)
    if path.is_dir() and is_empty(path):  # filled where it is: it may be the current folder, or a disk of its own
        mark_as_ours(path)
        for name, text in first.items():
            write_atomically(path / name, text)
        return path
    with folder_at_once(path, overwrite=overwrite) as folder:
        for name, text in first.items():
            write_atomically(folder / name, text)
    return path


@contextlib.contextmanager
def folder_at_once(path: PathLike, *, overwrite: bool = False) -> Iterator[Path]:
    """A folder that appears at `path` complete, when the block ends well, or not at all.

    At every instant, whatever happens, there is the old folder, whole, or the new one.

    Args:
        path: where the folder is to be; the block writes into the temporary one beside it that it is given.
        overwrite: replace a folder that `folder_at_once` or `output_folder` made before.

    Raises:
        ArtifactError: something is there and may not be replaced, or the folder cannot be written.
    """
    given = Path(path)
    check_replaceable(given, overwrite=overwrite)
    path = given.resolve()  # of a link the folder that it means is replaced, not the link
    try:
        if path.is_dir() and path in (here := Path.cwd().resolve(), *here.parents):
            raise ArtifactError(f"{given}: holds the current folder; change to another one, or give another folder.")
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path)
        if path.exists():
            remove_leftovers(path, _ASIDE)  # of a replacement that was interrupted after its second step
        beside = beside_of(path)
        beside.mkdir()
    except FileExistsError:
        raise ArtifactError(f"{given}: is a file; give a folder.") from None
    except OSError as error:
        raise failure("written", given, error) from None
    try:
        with held(beside):
            mark_as_ours(beside)
            yield beside
            _sync_all(beside)
            put_in_place(beside, path)
    except OSError as error:
        raise failure("written", given, error) from None
    finally:
        remove_whole(beside)


def put_in_place(new: Path, path: Path) -> None:
    """Give a complete folder its name; what bore the name before then bears that of the new one.

    Raises:
        OSError: both are as they were.
    """
    if not path.exists():
        new.rename(path)
    elif not _exchange(new, path):
        _exchange_in_steps(new, path)
    sync_folder(path.parent)


def recover(path: PathLike) -> None:
    """Put back a folder whose replacement was interrupted, where that took two steps; else nothing."""
    path = Path(path)
    with contextlib.suppress(OSError, ValueError):
        if not os.path.lexists(path):
            for old in names_beside(path, _ASIDE)[:1]:
                old.rename(path)


def mark_as_ours(folder: PathLike) -> None:
    """Mark a folder so that it may be replaced one day; only for one that we made, or found empty."""
    write_atomically(Path(folder) / _MARKER, "")


def _sync_all(folder: Path) -> None:
    for here, _, names in os.walk(folder):
        for name in names:
            sync(Path(here) / name)
        sync_folder(Path(here))


_CANNOT = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP)


def _exchange(a: Path, b: Path) -> bool:
    """Let two folders change their names at one instant; False where the system, or the file system, cannot.

    Source: renameat2(2) of Linux, renamex_np(2) of macOS.
    """
    call = _system_exchange()
    if call is None:
        return False
    if call(os.fsencode(a), os.fsencode(b)) == 0:
        return True
    number = ctypes.get_errno()
    if number in _CANNOT:
        return False
    raise OSError(number, os.strerror(number))


@cache
def _system_exchange() -> Callable[[bytes, bytes], int] | None:
    if sys.platform not in ("linux", "darwin"):
        return None
    try:
        library = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "darwin":
            renamex, swap = library.renamex_np, 2  # RENAME_SWAP
            return lambda a, b: int(renamex(a, b, swap))
        renameat2, here, exchange = library.renameat2, -100, 2  # AT_FDCWD, RENAME_EXCHANGE
        return lambda a, b: int(renameat2(here, a, here, b, exchange))
    except (OSError, AttributeError):  # a C library without it
        return None


def _exchange_in_steps(new: Path, path: Path) -> None:
    """The same in two steps; `recover` puts the old folder back if the second one is never made."""
    aside = beside_of(path, _ASIDE)
    path.rename(aside)
    try:
        new.rename(path)
    except OSError:
        aside.rename(path)
        raise
    with contextlib.suppress(FileNotFoundError):  # another process has removed it by now
        aside.rename(new)


def _refuse_unless_replaceable(path: Path, *, overwrite: bool) -> None:
    if not overwrite:
        raise ArtifactError(
            f"{path}: exists and is not empty; give another folder, or --overwrite (overwrite=True) to replace it."
        )
    if not (path / _MARKER).is_file():
        raise ArtifactError(f"{path}: exists and was not made by reconv, so it is not deleted; give another folder.")
