"""Low-level reading and writing: every failure becomes an `ArtifactError` that names the file and what to do.

A file is written under a temporary name and then renamed, so that an interrupted or failed write leaves nothing
half-written; what is read is data only (JSON, TOML, safetensors), never code.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from reconv.errors import ArtifactError

PathLike = str | os.PathLike[str]

_MARKER = ".reconv"
_REASONS = {
    errno.ENOENT: "it does not exist; check the path",
    errno.EISDIR: "it is a folder; give a file",
    errno.ENOTDIR: "a part of the path is a file, not a folder; check the path",
    errno.EACCES: "no rights; change the rights or give another path",
    errno.EPERM: "no rights; change the rights or give another path",
    errno.EROFS: "the file system is read-only; give another path",
    errno.ENOSPC: "no space left on the device; free some or give another path",
    errno.EDQUOT: "the disk quota is used up; free some space or give another path",
    errno.ENAMETOOLONG: "the name is too long; give a shorter one",
}


def _failure(verb: str, path: PathLike | Traversable, error: OSError) -> ArtifactError:
    reason = _REASONS.get(error.errno or 0, f"{error.strerror or error}; check the path")
    return ArtifactError(f"{path}: cannot be {verb}: {reason}.")


# --- reading ------------------------------------------------------------------------------------------------


def read_bytes(path: PathLike | Traversable, *, limit: int | None = None) -> bytes:
    """The content of a file.

    Args:
        path: the file, on disk or inside a package.
        limit: refuse more bytes than this.

    Raises:
        ArtifactError: missing, unreadable, or larger than `limit`.
    """
    file = path if isinstance(path, Traversable) else Path(path)
    try:
        with file.open("rb") as stream:
            content: bytes = stream.read() if limit is None else stream.read(limit + 1)
    except OSError as error:
        raise _failure("read", path, error) from None
    if limit is not None and len(content) > limit:
        raise ArtifactError(f"{path}: more than {limit} bytes; a file of this kind is smaller.")
    return content


def read_text(path: PathLike | Traversable, *, limit: int | None = None) -> str:
    """The content of a UTF-8 text file; refuses what is not (see `read_bytes`)."""
    try:
        return read_bytes(path, limit=limit).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ArtifactError(f"{path}: not a text file (byte {error.start} is not UTF-8).") from None


def read_json(path: PathLike | Traversable) -> Any:
    """The value that a JSON file holds.

    Raises:
        ArtifactError: missing, unreadable, or not JSON (a file cut in half says so, with line and column).
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ArtifactError(
            f"{path}: not complete JSON: {error.msg} at line {error.lineno}, column {error.colno}; "
            "restore or recreate the file."
        ) from None
    except (RecursionError, ValueError):
        raise ArtifactError(f"{path}: JSON nested too deeply, or a number too long; recreate the file.") from None


def read_toml(path: PathLike | Traversable, *, parse_float: Callable[[str], Any] = float) -> dict[str, Any]:
    """The table that a TOML file holds; `parse_float=decimal.Decimal` keeps fractions exact.

    Raises:
        ArtifactError: missing, unreadable, or not TOML (with line and column).
    """
    text = read_text(path)
    try:
        return tomllib.loads(text, parse_float=parse_float)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ArtifactError(f"{path}: not TOML: {error}; correct that line.") from None


@contextlib.contextmanager
def _opened(path: PathLike) -> Iterator[Any]:
    try:
        Path(path).open("rb").close()  # says which errno; safetensors' own errors do not
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise ArtifactError(f"{path}: not a complete safetensors file ({error}); copy or download it again.") from None
    except OSError as error:
        raise _failure("read", path, error) from None


def read_tensors(path: PathLike) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU, in memory of their own.

    Raises:
        ArtifactError: missing, unreadable, truncated or not safetensors.
    """
    with _opened(path) as file:
        # Cloned: the file's pages are mapped, and the file may be replaced while the tensors live.
        return {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118


def read_metadata(path: PathLike) -> dict[str, str]:
    """The free-text metadata of a safetensors file, without reading its tensors."""
    with _opened(path) as file:
        return dict(file.metadata() or {})


# --- writing ------------------------------------------------------------------------------------------------


def write_atomically(path: PathLike, content: bytes | str | Callable[[Path], object]) -> None:
    """Write a file so that it is there complete or not at all; folders on the way are made.

    Args:
        path: the file; one that exists is replaced.
        content: bytes, text (as UTF-8), or a function that writes to the path it is given.

    Raises:
        ArtifactError: no rights, no space, or a path that cannot be.
    """
    path = Path(path)
    beside = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "is a folder")
        if callable(content):
            content(beside)
        else:
            beside.write_bytes(content.encode() if isinstance(content, str) else content)
        beside.replace(path)
    except OSError as error:
        raise _failure("written", path, error) from None
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    return path.parent / f".{path.name[:80]}.{os.urandom(4).hex()}.part"


def write_json(path: PathLike, value: object) -> None:
    """Write a value as indented JSON, atomically; NaN and infinity, which JSON lacks, are a `ValueError`."""
    write_atomically(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_tensors(path: PathLike, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors and free-text metadata as safetensors, atomically.

    Tensors on any device, strided or sharing memory are fine: contiguous copies are written.
    """
    copies = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }
    write_atomically(path, save(copies, metadata=dict(metadata or {})))


def tensors_size(tensors: Mapping[str, tuple[torch.dtype, Sequence[int]]], metadata: Mapping[str, str]) -> int:
    """Bytes of the file that `write_tensors` would write for tensors of these types and shapes."""
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    start = 0
    # Wider items come first, then it goes by name.
    for name, (dtype, shape) in sorted(tensors.items(), key=lambda item: (-item[1][0].itemsize, item[0])):
        stop = start + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": _type_name(dtype), "shape": list(shape), "data_offsets": [start, stop]}
        start = stop
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    return 8 + 8 * math.ceil(len(text) / 8) + start


def _type_name(dtype: torch.dtype) -> str:
    """As safetensors writes it: F32, BF16, I64, U8, BOOL, F8_E4M3."""
    name = str(dtype).removeprefix("torch.")
    for long, short in (("bfloat", "BF"), ("float8_", "F8_"), ("float", "F"), ("uint", "U"), ("int", "I")):
        if name.startswith(long):
            return (short + name.removeprefix(long)).upper().removesuffix("FN")
    return {"complex64": "C64"}.get(name, name.upper())


# --- folders ------------------------------------------------------------------------------------------------


def check_replaceable(path: PathLike, *, overwrite: bool = False) -> None:
    """Refuse early what `output_folder` and `folder_at_once` would refuse: a file, or a folder with something in it.

    Raises:
        ArtifactError: something is there and may not be replaced, or the folder above it takes no files.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_dir():
            raise ArtifactError(f"{path}: is a file; give a folder.")
        if path.is_dir() and any(path.iterdir()):
            _refuse_unless_replaceable(path, overwrite=overwrite)
        nearest = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
        if not nearest.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "not a folder")
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "no rights")
    except OSError as error:
        raise _failure("written", path, error) from None


def output_folder(path: PathLike, *, overwrite: bool = False) -> Path:
    """An empty folder to write results into, made with the folders above it.

    Args:
        path: the folder; an empty one that exists is fine.
        overwrite: empty it first, if it holds anything. Only a folder that this function made is emptied (a
            marker file tells), so that no typing error deletes anybody's home.

    Raises:
        ArtifactError: it holds files and may not be emptied, or cannot be made.
    """
    path = Path(path)
    check_replaceable(path, overwrite=overwrite)
    try:
        path.mkdir(parents=True, exist_ok=True)
        for entry in path.iterdir():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        mark_as_ours(path)
    except FileExistsError:
        raise ArtifactError(f"{path}: is a file; give a folder.") from None
    except OSError as error:
        raise _failure("written", path, error) from None
    return path


@contextlib.contextmanager
def folder_at_once(path: PathLike, *, overwrite: bool = False) -> Iterator[Path]:
    """A folder that appears at `path` complete, when the block ends well, or not at all.

    Args:
        path: where the folder is to be; the block writes into the temporary one beside it that it is given.
        overwrite: replace a folder that `folder_at_once` or `output_folder` made before.

    Raises:
        ArtifactError: something is there and may not be replaced, or the folder cannot be written.
    """
    path = Path(path)
    check_replaceable(path, overwrite=overwrite)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = _beside(path)
        beside.mkdir()
    except FileExistsError:
        raise ArtifactError(f"{path}: is a file; give a folder.") from None
    except OSError as error:
        raise _failure("written", path, error) from None
    try:
        mark_as_ours(beside)
        yield beside
        if path.is_dir():
            shutil.rmtree(path)
        beside.replace(path)
    except OSError as error:
        raise _failure("written", path, error) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def mark_as_ours(folder: PathLike) -> None:
    """Mark a folder so that `output_folder` may empty it one day; only for one that we made, or found empty."""
    write_atomically(Path(folder) / _MARKER, "")


def _refuse_unless_replaceable(path: Path, *, overwrite: bool) -> None:
    if not overwrite:
        raise ArtifactError(
            f"{path}: exists and is not empty; give another folder, or --overwrite (overwrite=True) to replace it."
        )
    if not (path / _MARKER).is_file():
        raise ArtifactError(f"{path}: exists and was not made by reconv, so it is not deleted; give another folder.")


# --- fingerprints -------------------------------------------------------------------------------------------


def sha256_of(path: PathLike) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    try:
        with Path(path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise _failure("read", path, error) from None


def tensors_fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """The SHA-256 of names, dtypes, shapes and bytes; the same on every device and in any order of names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        flat = tensor.as_strided((tensor.numel(),), (1,))  # one number alone is contiguous whatever its stride
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()
