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
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_IGNORED = frozenset(("PROTO", "FRAME", "STOP"))
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
    """The stack, the memo, and one method for each opcode that takes from them."""

    position: int = 0
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def until_mark(self) -> list[Any]:
        items = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def step(self, opcode: str, argument: Any) -> None:
        if opcode in _LITERALS:
            self.stack.append(argument)
        elif opcode in _CONSTANTS:
            self.stack.append(_CONSTANTS[opcode])
        elif opcode not in _IGNORED:
            method = getattr(self, f"op_{opcode.lower()}", None)
            if method is None:
                raise ValueError(f"the operation {opcode}")
            method(argument)

    # Containers.
    def op_mark(self, _: Any) -> None:
        self.stack.append(_MARK)

    def op_empty_list(self, _: Any) -> None:
        self.stack.append([])

    def op_empty_dict(self, _: Any) -> None:
        self.stack.append({})

    def op_empty_tuple(self, _: Any) -> None:
        self.stack.append(())

    def op_list(self, _: Any) -> None:
        self.stack.append(self.until_mark())

    def op_tuple(self, _: Any) -> None:
        self.stack.append(tuple(self.until_mark()))

    def op_dict(self, _: Any) -> None:
        items = self.until_mark()
        self.stack.append(dict(zip(items[::2], items[1::2])))

    def op_tuple1(self, _: Any) -> None:
        self._tuple(1)

    def op_tuple2(self, _: Any) -> None:
        self._tuple(2)

    def op_tuple3(self, _: Any) -> None:
        self._tuple(3)

    def _tuple(self, length: int) -> None:
        items = [self.stack.pop() for _ in range(length)]
        self.stack.append(tuple(items[::-1]))

    def op_append(self, _: Any) -> None:
        item = self.stack.pop()
        self._top(list).append(item)

    def op_appends(self, _: Any) -> None:
        items = self.until_mark()
        self._top(list).extend(items)

    def op_setitem(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._top(dict)[key] = value

    def op_setitems(self, _: Any) -> None:
        items = self.until_mark()
        self._top(dict).update(zip(items[::2], items[1::2]))

    def _top(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise ValueError(f"an item put into a {type(self.stack[-1]).__name__}")
        return self.stack[-1]

    # The memo: values that occur again.
    def op_put(self, key: int) -> None:
        self.memo[key] = self.stack[-1]

    op_binput = op_long_binput = op_put

    def op_memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def op_get(self, key: int) -> None:
        self.stack.append(self.memo[key])

    op_binget = op_long_binget = op_get

    # Arrays.
    def op_global(self, name: str) -> None:
        if name not in _ARRAY_PARTS:
            raise ValueError(f"the name {name.replace(' ', '.')}")
        self.stack.append(_Name(_ARRAY_PARTS[name]))

    def op_stack_global(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.op_global(f"{module} {name}")

    def op_reduce(self, _: Any) -> None:
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

    def op_build(self, _: Any) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, _Array):
            _, shape, kind, columns_first, content = state
            content = content.encode("latin-1") if isinstance(content, str) else content
            flat = np.frombuffer(content, "<" + kind.code)
            target.value = flat.reshape(shape[::-1]).T if columns_first else flat.reshape(shape)
        elif not isinstance(target, _Type) or state[1] not in ("|", "<", "="):
            raise ValueError("a state set on something that is no array of little-endian integers")


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
