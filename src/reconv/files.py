"""Low-level reading and writing: every failure becomes an `ArtifactError` that names the file and what to do.

A file is written under a temporary name, brought to the disk and then renamed, so that an interrupted or failed write
leaves nothing half-written; what is read is data only (JSON, TOML, safetensors), never code, and of bounded size and
depth. Whole folders: `reconv.folders`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import stat
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from reconv.errors import ArtifactError
from reconv.temporary import beside_of, held, remove_leftovers, sync, sync_folder

if TYPE_CHECKING:  # commands that touch no tensor answer before PyTorch would be loaded
    import torch
    from torch import Tensor

PathLike = str | os.PathLike[str]

_LARGEST_JSON, _LARGEST_TOML = 256 << 20, 1 << 20  # bytes
_DEEPEST = 64  # lists and tables within each other
_LONG_KEY = re.compile(  # a TOML key of a hundred parts; the parser's time grows with the square of their number
    r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){100}"""
)
_MOST_TENSORS = 1_000_000
_AS_IN_JSON = "backslashreplace"  # of a file's name that is not Unicode; both JSON and people read it
_MEMORY_IF_UNKNOWN = 64 << 30
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
    errno.EBUSY: "it is in use, or another file system begins there; give another path",
}


def failure(verb: str, path: PathLike | Traversable, error: OSError) -> ArtifactError:
    """The error for what the system refused, with its reason; `verb` is "read" or "written"."""
    path = re.sub(r"(^|[/\\])\.([^/\\]+)\.[0-9a-f]{8}\.part(?=[/\\])", r"\1\2", str(path))  # as the user knows it
    reason = _REASONS.get(error.errno or 0, f"{error.strerror or error}; check the path")
    return ArtifactError(f"{path}: cannot be {verb}: {reason}.")


# --- reading ------------------------------------------------------------------------------------------------


def memory() -> int:
    """The bytes of memory that this machine has; nothing larger is read."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        return _MEMORY_IF_UNKNOWN


def check_readable(path: PathLike, *, limit: int | None = None) -> None:
    """Refuse what would be read for ever, or is too large: a pipe, a device, a file of more bytes than the limit.

    Args:
        path: the file. limit: bytes; None: the memory of this machine.

    Raises:
        ArtifactError: missing, no file, or too large.
    """
    try:
        found = usable(path, "read").stat()
    except OSError as error:
        raise failure("read", path, error) from None
    if stat.S_ISDIR(found.st_mode):
        raise failure("read", path, IsADirectoryError(errno.EISDIR, "is a folder"))
    if not stat.S_ISREG(found.st_mode):
        raise ArtifactError(f"{path}: cannot be read: it is a pipe or a device; give a file.")
    if found.st_size > (memory() if limit is None else limit):
        more = "than this machine's memory" if limit is None else f"than {limit} bytes"
        raise ArtifactError(f"{path}: {found.st_size} bytes, more {more}; a file of this kind is smaller.")


def usable(path: PathLike, verb: str) -> Path:
    """A path without a zero byte, which no system takes; `verb` as for `failure`."""
    if "\0" in os.fspath(path):
        raise failure(verb, path, OSError(errno.EINVAL, "there is a zero byte in its name"))
    return Path(path)


def read_bytes(path: PathLike | Traversable, *, limit: int | None = None) -> bytes:
    """The content of a file.

    Args:
        path: the file, on disk or inside a package.
        limit: refuse more bytes than this; None: than this machine has memory.

    Raises:
        ArtifactError: missing, unreadable, no file, or larger than `limit`.
    """
    if isinstance(path, str | os.PathLike):
        check_readable(path, limit=limit)
    file = path if isinstance(path, Traversable) else Path(path)
    try:
        with file.open("rb") as stream:
            content: bytes = stream.read() if limit is None else stream.read(limit + 1)
    except OSError as error:
        raise failure("read", path, error) from None
    if limit is not None and len(content) > limit:  # it has grown since
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
        ArtifactError: missing, unreadable, too large or deep, or not JSON (a file cut in half says so, with line and
            column).
    """
    return parse_json(read_text(path, limit=_LARGEST_JSON), path)


def parse_json(text: str, where: object) -> Any:
    """The value that a text of JSON from a file holds.

    Raises:
        ArtifactError: not JSON, or too deep; `where` names the file.
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ArtifactError(
            f"{where}: not complete JSON: {error.msg} at line {error.lineno}, column {error.colno}; "
            "restore or recreate the file."
        ) from None
    except (RecursionError, ValueError):
        raise ArtifactError(f"{where}: JSON nested too deeply, or a number too long; recreate the file.") from None
    _check_depth(value, where)
    return value


def read_toml(path: PathLike | Traversable, *, parse_float: Callable[[str], Any] = float) -> dict[str, Any]:
    """The table that a TOML file holds; `parse_float=decimal.Decimal` keeps fractions exact.

    Raises:
        ArtifactError: missing, unreadable, too large or deep, or not TOML (with line and column).
    """
    return parse_toml(read_text(path, limit=_LARGEST_TOML), path, parse_float=parse_float)


def parse_toml(text: str, where: object, *, parse_float: Callable[[str], Any] = float) -> dict[str, Any]:
    """The table that a text of TOML holds.

    Raises:
        ArtifactError: not TOML, or too deep; `where` names the file.
    """
    if _LONG_KEY.search(text):
        raise ArtifactError(f"{where}: TOML nested too deeply; correct the file.")
    try:
        table = tomllib.loads(text, parse_float=parse_float)
    except RecursionError:
        raise ArtifactError(f"{where}: TOML nested too deeply; correct the file.") from None
    except (ValueError, ArithmeticError) as error:  # numbers too long, dates and decimals that cannot be, too
        raise ArtifactError(f"{where}: not TOML: {error}; correct that line.") from None
    _check_depth(table, where)
    return table


def _check_depth(value: Any, where: object) -> None:
    """Refuse lists and tables within each other beyond what any code that reads them could follow."""
    level = [value]
    for _ in range(_DEEPEST):
        level = [item for items in level for item in _items(items)]
        if not level:
            return
    raise ArtifactError(f"{where}: lists and tables nested too deeply, more than {_DEEPEST}; recreate the file.")


def _items(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


@contextlib.contextmanager
def _opened(path: PathLike) -> Iterator[Any]:
    check_readable(path)
    try:
        Path(path).open("rb").close()  # says which errno; safetensors' own errors do not
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise ArtifactError(f"{path}: not a complete safetensors file ({error}); copy or download it again.") from None
    except OSError as error:
        raise failure("read", path, error) from None


def read_tensors(path: PathLike) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU, in memory of their own.

    Raises:
        ArtifactError: missing, unreadable, truncated or not safetensors.
    """
    with _opened(path) as file:
        if (number := len(file.keys())) > _MOST_TENSORS:
            raise ArtifactError(f"{path}: {number} tensors, more than {_MOST_TENSORS}; no network has as many.")
        # Cloned: the file's pages are mapped, and the file may be replaced while the tensors live.
        return {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118


def read_metadata(path: PathLike) -> dict[str, str]:
    """The free-text metadata of a safetensors file, without reading its tensors."""
    with _opened(path) as file:
        return dict(file.metadata() or {})


# --- writing ------------------------------------------------------------------------------------------------


def write_atomically(path: PathLike, content: bytes | str | Callable[[Path], object]) -> None:
    """Write a file so that it is there complete or not at all, also after a power cut; folders on the way are made.

    Args:
        path: the file; one that exists is replaced.
        content: bytes, text (as UTF-8), or a function that writes to the path it is given.

    Raises:
        ArtifactError: no rights, no space, or a path that cannot be.
    """
    path = usable(path, "written")
    beside = beside_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "is a folder")
        remove_leftovers(path)
        beside.touch()
        with held(beside):
            if callable(content):
                content(beside)
            else:
                beside.write_bytes(content.encode(errors=_AS_IN_JSON) if isinstance(content, str) else content)
            sync(beside)
            beside.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise failure("written", path, error) from None
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def write_json(path: PathLike, value: object) -> None:
    """Write a value as indented JSON, atomically; NaN and infinity, which JSON lacks, are a `ValueError`."""
    write_atomically(path, json_text(value))


def json_text(value: object) -> str:
    """The text of the file that `write_json` writes."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_tensors(path: PathLike, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors and free-text metadata as safetensors, atomically.

    Tensors on any device, strided or sharing memory are fine: contiguous copies are written.
    """
    import torch
    from safetensors.torch import save

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


# --- fingerprints -------------------------------------------------------------------------------------------


def sha256_of(path: PathLike) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    check_readable(path, limit=sys.maxsize)
    try:
        with Path(path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise failure("read", path, error) from None


def tensors_fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """The SHA-256 of names, dtypes, shapes and bytes; the same on every device and in any order of names."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        flat = tensor.as_strided((tensor.numel(),), (1,))  # one number alone is contiguous whatever its stride
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()
