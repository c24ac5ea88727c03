"""Writes score files in the syntax of the published ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

Literal = Callable[[float], str]

# How Python prints the values that the paper's system collected.
LITERALS: dict[str, Literal] = {
    "number": repr,
    "tensor": lambda value: f"tensor({value!r})",
    "tensor on a device": lambda value: f"tensor({value!r}, device='cuda:0')",
    "tensor with dtype": lambda value: f"tensor({value!r}, dtype=torch.float64, requires_grad=True)",
    "tensor in a list": lambda value: f"tensor([{value!r}])",
    "array": lambda value: f"array([{value!r}], dtype=float32)",
    "qualified array": lambda value: f"np.array([{value!r}], dtype=np.float32)",
    "numpy 2": lambda value: f"np.float64({value!r})",
}


def write_published_scores(
    path: Path, kind: str, layers: Mapping[int, Tensor], literal: Literal, head: str = ""
) -> Path:
    """One assignment a layer: `nucs2=[tensor(196.42), ...]`. Values are written as they are given."""
    lines = [
        f"{kind}{number}=[{', '.join(literal(value) for value in values.tolist())}]"
        for number, values in layers.items()
    ]
    path.write_text("\n".join([*([head] if head else []), *lines, ""]))
    return path
