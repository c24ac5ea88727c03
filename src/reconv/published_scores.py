"""The score files published with the paper, read by parsing and never by executing.

Such a file is Python source that assigns one list per layer, `nucs2=[tensor(196.42), ...]` or
`eigvs4=[array([3.26], dtype=float32), ...]`. Anything else in it is refused, by line. Layers are numbered:

- VGG: convolutions from 0, in order.
- ResNet: from 2 in steps of 2. The stem is 1 and every 3x3 convolution of a block counts one, so block b
  (from 0, over all stages) has its conv1 at 2b + 2 and its conv2 at 2b + 3.

`eigvs` hold squared largest singular values (the largest eigenvalue of A A^T); we return the singular value.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reconv.errors import ArtifactError
from reconv.files import PathLike, read_text

_CRITERIA = {"eigvs": "spectral", "nucs": "nuclear", "fros": "frobenius"}
_MAX_BYTES = 2 << 20  # the largest published file has 0.2 MB

_MODULE = r"(?:(?:torch|numpy|np)\.)?"
_NUMBER = r"-?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
_KEYWORD = rf"(?:dtype={_MODULE}float(?:16|32|64)|device='[\w:]+'|requires_grad=(?:True|False))"
_NAMES = r"(?:tensor|array|float16|float32|float64)"
# A number as Python prints it: tensor(196.42, device='cuda:0'), array([3.26], dtype=float32), np.float64(1.5).
_PRINTED = re.compile(rf"{_MODULE}(?:tensor|array|float32|float64)\(\[?({_NUMBER})\]?(?:, *{_KEYWORD})*\)")
_STATEMENT = re.compile(
    r"(?:import (?:torch|numpy)(?: as \w+)?"
    rf"|from (?:torch|numpy) import {_NAMES}(?:, *{_NAMES})*"
    r"|(?P<kind>eigvs|nucs|fros)(?P<layer>\d{1,4})\s*=\s*\[(?P<scores>[^\[\]]*)\])?[ \t]*(?:#[^\n]*)?(?:\n|\Z)"
)


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
    kind, layers = _parse(path)
    convolutions = _numbered_convolutions(model)
    values: dict[str, Tensor] = {}
    for number, (line, scores) in layers.items():
        if number not in convolutions:
            raise _refused(path, line, f"layer {number} is not one of this model's ({_span(convolutions)})")
        name, channels = convolutions[number]
        if len(scores) != channels:
            raise _refused(path, line, f"{len(scores)} scores for {name}, which has {channels} channels")
        tensor = torch.tensor(scores, dtype=torch.float64)
        values[name] = tensor.clamp_min(0).sqrt() if kind == "eigvs" else tensor
    return PublishedScores(_CRITERIA[kind], values)


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


def _refused(path: PathLike, line: int, what: str) -> ArtifactError:
    return ArtifactError(
        f"{path}, line {line}: {what}; a score file holds only lines such as nucs2=[tensor(196.42), ...]."
    )


def _parse(path: PathLike) -> tuple[str, dict[int, tuple[int, list[float]]]]:
    """The file's kind, and by layer number the line and the scores."""
    text = _PRINTED.sub(r"\1", read_text(path, limit=_MAX_BYTES))
    first = ""
    layers: dict[int, tuple[int, list[float]]] = {}
    line, position = 1, 0
    while position < len(text):
        match = _STATEMENT.match(text, position)
        if match is None:
            raise _refused(path, line, f"{_excerpt(text[position:])} is not a list of scores")
        kind, number = match["kind"], int(match["layer"] or 0)
        if kind:
            first = first or kind
            if kind != first:
                raise _refused(path, line, f"{kind} in a file of {first}")
            if number in layers:
                raise _refused(path, line, f"{kind}{number} a second time")
            layers[number] = line, _numbers(path, line, match["scores"])
        line, position = line + match[0].count("\n"), match.end()
    if not layers:
        raise _refused(path, 1, "no scores in it")
    return first, layers


def _numbers(path: PathLike, line: int, text: str) -> list[float]:
    numbers = []
    for piece in re.sub(r",\s*\Z", "", text).split(","):
        if not re.fullmatch(_NUMBER, piece.strip()):
            raise _refused(path, line, f"{_excerpt(piece)} is not a number" if text.strip() else "an empty list")
        number = float(piece)
        if math.isinf(number):
            raise _refused(path, line, "a number too large")
        if number < -1e-6:  # the eigenvalue of a dead channel may be a rounding below zero
            raise _refused(path, line, f"{number} is negative, which no norm is")
        numbers.append(number)
    return numbers


def _excerpt(text: str) -> str:
    start = text.strip().partition("\n")[0]
    return repr(start if len(start) <= 40 else f"{start[:37]}...")
