"""Reading the data in a pickle file without running anything that it names.

The python layout of CIFAR is made of pickles, and a pickle may call whatever it names. Here the few names that arrays
of integers are made of stand for classes of ours; any other is refused, and nothing is imported.
"""

from __future__ import annotations

import pickle
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from reconv.errors import ArtifactError
from reconv.files import read_bytes

_LARGEST = 1 << 30  # bytes; the largest official file has 155 million


class _Array:
    """Stands for numpy's array: the pickle sets its shape, type and bytes."""

    value: np.ndarray | None = None

    def __init__(self, *_: Any) -> None:
        """What numpy's constructors take says nothing about the values."""

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, columns_first, content = state
        content = content.encode("latin-1") if isinstance(content, str) else content
        flat = np.frombuffer(content, "<" + kind.code)
        self.value = flat.reshape(shape[::-1]).T if columns_first else flat.reshape(shape)


class _Type:
    """Stands for numpy's type."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.code = str(code).lstrip("|<>=")
        if self.code not in {"u1", "i1", "i4", "i8"}:
            raise ValueError(f"an array of {code}, not of integers")

    def __setstate__(self, state: Any) -> None:
        if state[1] not in ("|", "<", "="):
            raise ValueError("an array of big-endian integers")


class _Bytes(bytes):
    """Bytes that Python 3 wrote as text, for Python 2."""

    def __new__(cls, text: str, _: str) -> _Bytes:
        return super().__new__(cls, text, "latin-1")


_NAMES: dict[str, type] = {
    "numpy.core.multiarray._reconstruct": _Array,
    "numpy._core.multiarray._reconstruct": _Array,
    "numpy.ndarray": _Array,
    "numpy.dtype": _Type,
    "_codecs.encode": _Bytes,
}


# The reader in Python: the one in C allocates what a damaged file claims to need.
class _Reader(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in _NAMES:
            raise ValueError(f"the name {module}.{name}")
        return _NAMES[f"{module}.{name}"]

    def get_extension(self, code: int) -> None:
        raise ValueError(f"the extension {code}")


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
    try:
        value = _Reader(BytesIO(content), encoding="latin-1").load()
        return {str(_text(key)): _finished(item) for key, item in value.items()}
    except Exception as error:  # a damaged pickle makes the reader fail in any way
        raise ArtifactError(
            f"{path}: not a plain table of numbers and names: {str(error) or type(error).__name__}. "
            "Nothing in it was run; download the data set again."
        ) from None


def _text(value: Any) -> Any:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _finished(value: Any) -> Any:
    if isinstance(value, _Array):
        return value.value
    return [_text(item) for item in value] if isinstance(value, list) else value
