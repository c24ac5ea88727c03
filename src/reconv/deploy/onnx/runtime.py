"""What onnxruntime computes from a model, and how far a network is from that."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reconv.deploy.onnx.network import OnnxNetwork
from reconv.errors import ArtifactError, first_line
from reconv.optional import optional

_ROUNDINGS = 3  # two ways to round may differ by this many times what one of them differs from exact numbers


@dataclass(frozen=True)
class Parity:
    """How far a network is from onnxruntime on the same inputs, relative to an output's largest value (see `ranges`).

    Args:
        difference: between the two. rounding: between the network in float32 and itself in float64.
    """

    difference: float
    rounding: float

    def within(self, tolerance: float) -> bool:
        """Whether the two differ by no more than this, or than rounding explains where the network magnifies it."""
        return self.difference <= max(tolerance, _ROUNDINGS * self.rounding)


def compare_with_runtime(network: OnnxNetwork, model: Any, where: str, seed: int = 0) -> Parity:
    """Run a network and onnxruntime on the same random inputs.

    Args:
        network: the network. model: an `onnx.ModelProto`. where: the file's name, for messages. seed: of the inputs.

    Raises:
        ArtifactError: onnxruntime does not run the model. ConfigError: it is not installed.
    """
    generator = torch.Generator().manual_seed(seed)
    program = network.program
    inputs = [
        torch.randn(shape, generator=generator).to(value.dtype)
        for value, shape in zip(program.inputs, program.example, strict=True)
    ]
    with torch.no_grad():
        found = network(*inputs)
        exact = copy.deepcopy(network).double()(*(x.double() if x.is_floating_point() else x for x in inputs))
    expected = outputs_of(model, {v.name: x for v, x in zip(program.inputs, inputs, strict=True)}, where)
    mine, precise = (y if isinstance(y, tuple) else (y,) for y in (found, exact))
    ranges = network.ranges
    rounding = largest_difference(mine, [y.numpy() for y in precise], ranges)
    return Parity(largest_difference(mine, expected, ranges), rounding)


def outputs_of(model: Any, inputs: dict[str, Tensor], where: str) -> list[np.ndarray[Any, Any]]:
    """The outputs of a model, by onnxruntime on one thread."""
    runtime = optional("onnxruntime", "ONNX files", extra="onnx")
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # what it says is in the error
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        outputs: list[np.ndarray[Any, Any]] = session.run(None, {name: x.numpy() for name, x in inputs.items()})
    except Exception as error:  # its errors have no common class
        text = first_line(error)[:200]
        raise ArtifactError(f"{where}: onnxruntime does not run it ({text}); export it again") from None
    return outputs


def largest_difference(
    found: Sequence[Tensor], expected: Sequence[np.ndarray[Any, Any]], ranges: Sequence[float] = ()
) -> float:
    """The largest difference relative to the largest value, output by output; infinite where shapes differ.

    Args:
        ranges: by output, what is taken for its largest value at least.
    """
    worst = 0.0
    for mine, other, least in zip(found, expected, ranges or [0.0] * len(expected), strict=True):
        theirs = torch.from_numpy(np.ascontiguousarray(other))
        if mine.shape != theirs.shape:
            return float("inf")
        gap = float((mine.double() - theirs.double()).abs().max()) if mine.numel() else 0.0
        scale = max(float(theirs.double().abs().max()) if mine.numel() else 0.0, least) or 1.0
        worst = max(worst, gap / scale) if gap == gap else float("nan")
        if worst != worst:
            return worst
    return worst
