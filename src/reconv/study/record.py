"""A cell's record, checked when it is read, so that a damaged file is reported before its numbers are used."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from reconv.errors import ArtifactError
from reconv.study.cell import hash_of

_NUMBER = (int, float)
_ROUNDING = 1e-6  # of an accuracy that was taken in float32


def pack(correct: np.ndarray[Any, Any]) -> str:
    """One bit per image, as base64."""
    return base64.b64encode(np.packbits(correct).tobytes()).decode()


def unpack(text: str, images: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """What `pack` packed.

    Raises:
        ValueError: not base64, or not as many bits.
    """
    bits = np.frombuffer(base64.b64decode(text, validate=True), dtype=np.uint8)
    if len(bits) != -(-images // 8):
        raise ValueError(f"{8 * len(bits)} bits for {images} images")
    return np.unpackbits(bits, count=images).astype(np.bool_)


def checked(record: Any, where: str) -> dict[str, Any]:
    """The record, if it is complete and agrees with itself.

    Args:
        record: as it was read. where: it comes from, for messages.

    Raises:
        ArtifactError: what is wrong with it.
    """
    try:
        wrong = _what_is_wrong(record)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        wrong = f"not a cell of a study ({type(error).__name__}: {error})"
    if wrong:
        raise ArtifactError(f"{where}: {wrong}; delete it, and it is computed again.")
    return dict(record)


def _what_is_wrong(record: Any) -> str:
    cell, outcome, made = record["cell"], record["outcome"], record["made"]
    if hash_of(cell) != record["key"]:
        return "its settings are not those of its hash"
    share = float(unpack(outcome["correct"], outcome["images"]).mean())
    if not abs(share - outcome["accuracy"]) < _ROUNDING:
        return f"its accuracy is {outcome['accuracy']}, but {share:.6g} of its images are right"
    numbers = [outcome["loss"], *_two(outcome["macs"]), *_two(outcome["parameters"]), *outcome["widths"]]
    numbers += [made["seconds"], made["processor_seconds"]]
    texts = [record["name"], record["arm"], made["device"], made["versions"]["torch"], made["versions"]["reconv"]]
    texts += [cell["network"]["labels"], cell["split"]]
    right = all(isinstance(value, _NUMBER) for value in numbers) and all(isinstance(text, str) for text in texts)
    return "" if right else "a value in it is of another kind than a cell's"


def _two(values: Any) -> tuple[Any, Any]:
    before, after = values
    return before, after
