"""The score files published with the paper, read by parsing and never by executing.

Such a file is Python source that assigns one list a layer, `nucs2=[tensor(196.42), ...]` or
`eigvs4=[array([3.26], dtype=float32), ...]`. Anything else in it is refused, by line. Layers are numbered:

- VGG: convolutions from 0, in order.
- ResNet: from 2 in steps of 2. The stem is 1 and every 3x3 convolution of a block counts one, so block b
  (from 0, over all stages) has its conv1 at 2b + 2 and its conv2 at 2b + 3.

`eigvs` hold squared largest singular values (the largest eigenvalue of A A^T); we return the singular value.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reconv.errors import ArtifactError
from reconv.files import PathLike, read_text

_CRITERIA = {"eigvs": "spectral", "nucs": "nuclear", "fros": "frobenius"}
_TARGET = re.compile(r"(eigvs|nucs|fros)(\d{1,4})")
_MODULES = ("torch", "numpy")
_NUMBER_CALLS = ("tensor", "array", "float32", "float64")
_IMPORTED = (*_NUMBER_CALLS, "float16")
_KEYWORDS = ("dtype", "device", "requires_grad")
_DTYPES = ("float16", "float32", "float64")
_MAX_BYTES = 2 << 20  # the largest published file has 0.2 MB; a syntax tree takes a hundred times its text
_MAX_DEPTH = 4


@dataclass(frozen=True, eq=False)
class PublishedScores:
    """What one published file holds.

    Attributes:
        criterion: `spectral`, `nuclear` or `frobenius`.
        values: layer name -> [C_out], float64; sigma, never sigma squared.
    """

    criterion: str
    values: dict[str, Tensor]


def read_published_scores(path: PathLike, model: nn.Module) -> PublishedScores:
    """Read a published score file for a model.

    Args:
        path: `<model>_<data set>_model_{eigvs,nucs,fros}.py`; only its content counts.
        model: the model that the scores are of: a VGG, or a ResNet of basic blocks.

    Raises:
        ArtifactError: missing; anything but such assignments, by line; or layers that the model lacks.
    """
    numbered = _parse(path)
    convolutions = _numbered_convolutions(model)
    values: dict[str, Tensor] = {}
    for number, (line, scores) in numbered.layers.items():
        if number not in convolutions:
            raise _refused(path, line, f"layer {number} is not one of this model's ({_span(convolutions)})")
        name, channels = convolutions[number]
        if len(scores) != channels:
            raise _refused(path, line, f"{len(scores)} scores for {name}, which has {channels} channels")
        found = torch.tensor(scores, dtype=torch.float64)
        values[name] = found.clamp_min(0).sqrt() if numbered.kind == "eigvs" else found
    return PublishedScores(_CRITERIA[numbered.kind], values)


def _numbered_convolutions(model: nn.Module) -> dict[int, tuple[str, int]]:
    """Number in published files -> name and output channels of the convolution."""
    blocks = [
        (f"{path}.conv1" if path else "conv1", module.conv1.out_channels)
        for path, module in model.named_modules()
        if isinstance(getattr(module, "conv1", None), nn.Conv2d)
        and isinstance(getattr(module, "conv2", None), nn.Conv2d)
        and not hasattr(module, "conv3")
    ]
    if blocks:
        return {2 * index + 2: block for index, block in enumerate(blocks)}
    named = [(path, module) for path, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    if named and all(re.fullmatch(r"features\.\d+", path) for path, _ in named):
        return {index: (path, module.out_channels) for index, (path, module) in enumerate(named)}
    raise ArtifactError(
        f"{type(model).__name__}: no score files of such a model were published (only of VGG and of ResNet "
        "with basic blocks); compare with scores that reconv saved."
    )


def _span(convolutions: dict[int, tuple[str, int]]) -> str:
    numbers = sorted(convolutions)
    return f"{numbers[0]}, {numbers[1]}, ... {numbers[-1]}" if len(numbers) > 1 else f"{numbers[0]}"


@dataclass(frozen=True)
class _Numbered:
    kind: str
    layers: dict[int, tuple[int, list[float]]]  # number -> line, scores


def _refused(path: PathLike, line: int, what: str) -> ArtifactError:
    return ArtifactError(
        f"{path}, line {line}: {what}; a score file holds only lines such as nucs2=[tensor(196.42), ...]."
    )


def _parse(path: PathLike) -> _Numbered:
    text = read_text(path, limit=_MAX_BYTES)
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise _refused(path, error.lineno or 1, f"not Python syntax ({error.msg[:60]})") from None
    except (RecursionError, MemoryError, ValueError):
        raise _refused(path, 1, "nested too deeply, or not text") from None
    reader = _Reader(path)
    kinds: set[str] = set()
    layers: dict[int, tuple[int, list[float]]] = {}
    for statement in tree.body:
        if reader.is_import(statement):
            continue
        kind, number, scores = reader.assignment(statement)
        kinds.add(kind)
        if len(kinds) > 1:
            raise _refused(path, statement.lineno, f"{kind} in a file of {(kinds - {kind}).pop()}")
        if number in layers:
            raise _refused(path, statement.lineno, f"{kind}{number} a second time")
        layers[number] = statement.lineno, scores
    if not layers:
        raise _refused(path, 1, "no scores in it")
    return _Numbered(kinds.pop(), layers)


@dataclass(frozen=True)
class _Reader:
    """The grammar: each method takes a node of it apart, or refuses it by line."""

    path: PathLike

    def refuse(self, node: ast.AST, what: str) -> ArtifactError:
        return _refused(self.path, getattr(node, "lineno", 1), what)

    def is_import(self, node: ast.stmt) -> bool:
        """Imports of what the literals below are spelled with are let pass (nothing is imported)."""
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            if all(name in _MODULES for name in names):
                return True
            raise self.refuse(node, f"import of {', '.join(names)}")
        if isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names]
            if node.module in _MODULES and all(name in _IMPORTED for name in names):
                return True
            raise self.refuse(node, f"import of {', '.join(names)} from {node.module}")
        return False

    def assignment(self, node: ast.stmt) -> tuple[str, int, list[float]]:
        """`nucs2 = [...]` -> kind, layer number, scores."""
        if not (isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name)):
            raise self.refuse(node, f"{type(node).__name__} is not an assignment of scores")
        match = _TARGET.fullmatch(node.targets[0].id)
        if match is None:
            raise self.refuse(node, f"{node.targets[0].id!r} is not eigvs, nucs or fros and a layer number")
        scores = list(self.numbers(node.value, _MAX_DEPTH))
        if not scores:
            raise self.refuse(node, "an empty list")
        return match[1], int(match[2]), scores

    def numbers(self, node: ast.expr, depth: int) -> Iterator[float]:
        """The numbers of a literal, in order: a number, a list, or `tensor(...)`, `array(...)` of such."""
        if depth < 0:
            raise self.refuse(node, "lists nested too deeply")
        if isinstance(node, ast.List | ast.Tuple):
            for element in node.elts:
                yield from self.numbers(element, depth - 1)
        elif isinstance(node, ast.Call):
            yield from self.numbers(self.argument(node), depth - 1)
        else:
            yield self.number(node)

    def number(self, node: ast.expr) -> float:
        negative = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
        literal = node.operand if isinstance(node, ast.UnaryOp) and negative else node
        if not (isinstance(literal, ast.Constant) and type(literal.value) in (int, float)):
            raise self.refuse(node, f"{_excerpt(node)} is not a number")
        try:
            value = float(literal.value)  # type: ignore[arg-type]
        except OverflowError:
            value = math.inf
        if not math.isfinite(value):
            raise self.refuse(node, "a number too large")
        if negative and value > 1e-6:  # the eigenvalue of a dead channel may be a rounding below zero
            raise self.refuse(node, f"{-value} is negative, which no norm is")
        return -value if negative else value

    def argument(self, node: ast.Call) -> ast.expr:
        """The literal inside `tensor(...)`; the noise of its representation must be just that."""
        if _name_of(node.func) not in _NUMBER_CALLS or len(node.args) != 1:
            raise self.refuse(node, f"{_excerpt(node)} is not a number")
        for keyword in node.keywords:
            value = keyword.value
            constant = isinstance(value, ast.Constant) and isinstance(value.value, str | bool)
            if keyword.arg not in _KEYWORDS or not (constant or _name_of(value) in _DTYPES):
                raise self.refuse(node, f"{keyword.arg}={_excerpt(value)} does not belong to a number")
        return node.args[0]


def _name_of(node: ast.expr) -> str | None:
    """`tensor`, of `tensor` and of `torch.tensor`."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return node.attr if node.value.id in (*_MODULES, "np") else None
    return None


def _excerpt(node: ast.AST) -> str:
    try:
        text = ast.unparse(node)
    except RecursionError:
        text = type(node).__name__
    return text if len(text) <= 40 else f"{text[:37]}..."
