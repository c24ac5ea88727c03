"""Reading the data in a pickle file without unpickling it.

A pickle is a program: `pickle.load` runs it, and a crafted one runs anything. The python layout of CIFAR is made
of pickles, so they are read here as data: `pickletools` splits the file into opcodes without acting on them, and a
small stack machine of our own follows those that build numbers, strings, lists, tuples, dictionaries and numpy
arrays. No name in the file is ever imported: the few that arrays are made of stand for values of ours; any other
name, and any other opcode, is refused with its position in the file.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from reconv.errors import ArtifactError
from reconv.files import read_bytes

_LARGEST = 1 << 30  # bytes; the largest official file has 155 million

_NUMBERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT")
_BYTES = ("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8")
_TEXTS = ("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8")
_LITERALS = frozenset((*_NUMBERS, *_BYTES, *_TEXTS))
_ARRAY_PARTS = {
    "numpy.core.multiarray _reconstruct": "reconstruct",
    "numpy._core.multiarray _reconstruct": "reconstruct",
    "numpy ndarray": "ndarray",
    "numpy dtype": "dtype",
    "_codecs encode": "encode",
}
_MARK = object()


@dataclass(frozen=True)
class _Name:
    """One of the names in `_ARRAY_PARTS`, never the thing that bears it."""

    role: str


@dataclass
class _Array:
    """An array that is being built: `BUILD` gives it shape, type and bytes."""

    value: np.ndarray | None = None


@dataclass
class _Type:
    """A numpy type by its code, such as `u1`; only plain numbers are."""

    code: str


@dataclass
class _Machine:
    """The stack, the memo of values that occur again, and what each opcode does to them."""

    position: int = 0
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def step(self, opcode: str, argument: Any) -> None:
        push, pop = self.stack.append, self.stack.pop
        match opcode:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case _ if opcode in _LITERALS:
                push(argument)
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                push({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[opcode])
            case "MARK":
                push(_MARK)
            case "EMPTY_LIST" | "EMPTY_DICT" | "EMPTY_TUPLE":
                push({"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}[opcode]())
            case "LIST":
                push(self.until_mark())
            case "TUPLE":
                push(tuple(self.until_mark()))
            case "DICT":
                push(_pairs(self.until_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                push(tuple([pop() for _ in range(int(opcode[-1]))][::-1]))
            case "APPEND" | "APPENDS":
                items = [pop()] if opcode == "APPEND" else self.until_mark()
                self.top(list).extend(items)
            case "SETITEM" | "SETITEMS":
                items = [pop(), pop()][::-1] if opcode == "SETITEM" else self.until_mark()
                self.top(dict).update(_pairs(items))
            case "PUT" | "BINPUT" | "LONG_BINPUT" | "MEMOIZE":
                self.memo[len(self.memo) if opcode == "MEMOIZE" else argument] = self.stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                push(self.memo[argument])
            case "GLOBAL":
                push(_name(argument))
            case "STACK_GLOBAL":
                name, module = pop(), pop()
                push(_name(f"{module} {name}"))
            case "REDUCE":
                self.reduce()
            case "BUILD":
                self.build()
            case _:
                raise ValueError(f"the operation {opcode}")

    def until_mark(self) -> list[Any]:
        items = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def top(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise ValueError(f"an item put into a {type(self.stack[-1]).__name__}")
        return self.stack[-1]

    def reduce(self) -> None:
        arguments, called = self.stack.pop(), self.stack.pop()
        role = called.role if isinstance(called, _Name) else None
        if role == "reconstruct":
            self.stack.append(_Array())
        elif role == "dtype" and str(arguments[0]).lstrip("|<>=") in {"u1", "i1", "i4", "i8"}:
            self.stack.append(_Type(str(arguments[0]).lstrip("|<>=")))
        elif role == "encode" and arguments[1] == "latin1":
            self.stack.append(arguments[0].encode("latin-1"))
        else:
            raise ValueError("a call other than those that build arrays of integers")

    def build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, _Array):
            _, shape, kind, columns_first, content = state
            content = content.encode("latin-1") if isinstance(content, str) else content
            flat = np.frombuffer(content, "<" + kind.code)
            target.value = flat.reshape(shape[::-1]).T if columns_first else flat.reshape(shape)
        elif not isinstance(target, _Type) or state[1] not in ("|", "<", "="):
            raise ValueError("a state set on something that is no array of little-endian integers")


def _pairs(items: list[Any]) -> dict[Any, Any]:
    return dict(zip(items[::2], items[1::2]))


def _name(text: str) -> _Name:
    if text not in _ARRAY_PARTS:
        raise ValueError(f"the name {text.replace(' ', '.')}")
    return _Name(_ARRAY_PARTS[text])


def read_pickled(path: Path) -> dict[str, Any]:
    """The dictionary of numbers, strings, lists and integer arrays that a pickle file describes.

    Args:
        path: the file. Byte strings of Python 2 become text, as latin-1 has it.

    Returns:
        The dictionary, with text for keys.

    Raises:
        ArtifactError: the file is missing, truncated, holds anything else, or asks for anything to be run.
    """
    content = read_bytes(path, limit=_LARGEST)
    machine = _Machine()
    try:
        for opcode, argument, position in pickletools.genops(content):
            machine.position = position or 0
            machine.step(opcode.name, argument)
        (value,) = machine.stack
        return {_text(key): _finished(item) for key, item in value.items()}
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, MemoryError) as error:
        reason = "a value that is not there" if isinstance(error, LookupError) else error or type(error).__name__
        raise ArtifactError(
            f"{path}: not a plain table of numbers and names: byte {machine.position}: {reason}. "
            "Nothing in it was run; download the data set again."
        ) from None


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _finished(value: Any) -> Any:
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, list):
        return [_text(item) if isinstance(item, bytes) else item for item in value]
    return value
