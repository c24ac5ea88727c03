"""What `torch.save` wrote, read as data: sizes and nesting are looked at before anything is unpickled.

`torch.load(weights_only=True)` runs no code of the file, but it builds whatever the file describes, however large. A
file of some kilobytes can describe a table that unpacks to any size, or a key that takes for ever to hash.
"""

from __future__ import annotations

import pickletools
import re
import zipfile
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import torch

from reconv.errors import ArtifactError
from reconv.files import PathLike, read_bytes

_ZIP = b"PK\x03\x04"
_LARGEST_PICKLE = 16 << 20  # bytes; a hundred for each tensor are usual
_MOST_PARTS, _DEEPEST = 1_000_000, 1_000  # of one value, such as a key, which the interpreter follows when it hashes
_OLD_PICKLES = 5  # at the head of a file of before PyTorch 1.6: magic number, version, sizes of types, content, keys


def read_torch_file(path: PathLike) -> Any:
    """The tensors, tables, lists and numbers that a file of `torch.save` holds, on the CPU.

    Raises:
        ArtifactError: missing, truncated, corrupt, too large in memory; or it holds more than data.
    """
    content = read_bytes(path)
    try:
        if content.startswith(_ZIP):
            _check_archive(content, path)
        else:
            head = BytesIO(content[:_LARGEST_PICKLE])
            for _ in range(_OLD_PICKLES):
                _check_pickle(head, path)
        return torch.load(BytesIO(content), map_location="cpu", weights_only=True)
    except ArtifactError:
        raise
    except Exception as error:  # a corrupt file makes readers fail in any way
        raise ArtifactError(_unreadable(path, error)) from None


def _unreadable(path: PathLike, error: Exception) -> str:
    if found := re.search(r"Unsupported (?:global|class)\S* (?:GLOBAL )?(\S+)", str(error)):
        return (
            f"{path}: truncated, or it holds a Python object ({found[1]}) besides tensors, which is never "
            "unpickled here; save only the weights: torch.save(model.state_dict(), path)."
        )
    return f"{path}: truncated, or not a file of weights ({type(error).__name__}); copy or download it again."


def _check_archive(content: bytes, path: PathLike) -> None:
    with zipfile.ZipFile(BytesIO(content)) as archive:
        parts = archive.infolist()
        if sum(part.file_size for part in parts) > len(content):  # torch.save does not compress
            raise ArtifactError(f"{path}: its parts unpack to more bytes than the file has; save it with torch.save.")
        for part in parts:
            if part.filename.endswith("data.pkl"):
                if part.file_size > _LARGEST_PICKLE:
                    raise ArtifactError(
                        f"{path}: a table of {part.file_size} bytes besides its tensors; save only the weights: "
                        "torch.save(model.state_dict(), path)."
                    )
                _check_pickle(BytesIO(archive.read(part)), path)


@dataclass(frozen=True)
class _Value:
    """Of a value on the stack: how many parts it has, counted as often as they occur in it, and how deep it is."""

    parts: int = 1
    depth: int = 0


def _check_pickle(stream: BytesIO, path: PathLike) -> None:
    """Follow a pickle without acting on it, and refuse values that nobody could hold.

    Lists and tables count as one part, since they may hold themselves and are no keys.
    """
    stack: list[_Value | None] = []  # None: a mark
    memo: dict[Any, _Value | None] = {}
    for opcode, argument, _ in pickletools.genops(stream):
        name = opcode.name
        if name == "MARK":
            stack.append(None)
        elif name.endswith("PUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name.endswith("GET"):
            stack.append(memo[argument])
        else:
            taken = _pop(stack, opcode)
            made = _Value()
            if not ("ITEM" in name or "APPEND" in name or name in _MUTABLE):
                made = _Value(1 + sum(v.parts for v in taken), 1 + max((v.depth for v in taken), default=0))
            if made.parts > _MOST_PARTS or made.depth > _DEEPEST:
                raise ArtifactError(f"{path}: a value of too many parts, or too deep, in it; save only the weights.")
            stack += [made] * len(opcode.stack_after)


_MUTABLE = ("LIST", "DICT", "BUILD")


def _pop(stack: list[_Value | None], opcode: pickletools.OpcodeInfo) -> list[_Value]:
    """Take from the stack what an operation takes."""
    taken: list[_Value] = []
    before = opcode.stack_before
    if pickletools.markobject in before:
        while (value := stack.pop()) is not None:
            taken.append(value)
        before = before[: before.index(pickletools.markobject)]
    return taken + [stack.pop() or _Value() for _ in before]
